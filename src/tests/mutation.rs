//! Changes of bytes, for tests that feed decoders: the same as those of a fuzzer, from a seed.

use rand::Rng;
use rand::rngs::SmallRng;

/// A few bytes changed, inserted, removed or repeated.
pub fn mutate(bytes: &[u8], random: &mut SmallRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.random_range(0..4) {
        if bytes.is_empty() {
            bytes.push(0);
        }
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..6) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.random_range(0..5)],
            2 => bytes.truncate(at),
            3 => bytes.insert(at, bytes[at]),
            4 => {
                bytes.remove(at);
            }
            _ => {
                let from = random.random_range(0..bytes.len());
                let length = (bytes.len() - at.max(from)).min(8);
                bytes.copy_within(from..from + length, at);
            }
        }
    }
    bytes
}

//! The names the index works with: keyed pseudo-random images of (domain, kind, id).
//!
//! Owns the function from a name to 128 bits and how those bits are spent. Invariant: no bit of an [`IndexKey`] can
//! be predicted without the store's secret, so nobody can choose contents that meet in one stripe or bucket.
//! Rejected: a prefix of the id (ids can be ground), a full 256-bit id per entry (16 bytes more for each extent).

use std::fmt;
use std::hash::{Hash, Hasher};

use super::siphash::{LANES, SipKey, WORDS, image, images_of_group};
use crate::format::{ContentId, Domain, Kind};

/// How many independently locked parts the index has.
pub const STRIPES: usize = 1024;

/// What the derived key is bound to, so that the other uses of a store's secret say nothing about it.
const CONTEXT: &str = "helios 2026 index key";
/// Id, domain, kind.
const MESSAGE_BYTES: usize = 32 + 4 + 1;
/// Keys that are quicker made one by one than as a part of a group.
const FEW: usize = 4;
/// Bits of a key besides its stripe and its print.
pub(super) const TAIL_BITS: u32 = u128::BITS - STRIPES.trailing_zeros() - u8::BITS;

/// The key of the pseudo-random function, derived from a store's secret.
#[derive(Clone)]
pub struct Secret(SipKey);

impl Secret {
    /// Derives the index's own key from the secret in the superblock (any length; its entropy is what counts).
    pub fn derive(store_secret: &[u8]) -> Secret {
        let derived = blake3::derive_key(CONTEXT, store_secret);
        let [low, high, ..] = id_words(&derived);
        Secret([low, high])
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// The name of one extent as the index knows it: SipHash-2-4-128 of domain, kind and full id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IndexKey {
    high: u64,
    low: u64,
}

impl IndexKey {
    /// The key of an extent under a store's secret.
    #[inline]
    pub fn new(secret: &Secret, domain: Domain, kind: Kind, id: &ContentId) -> IndexKey {
        let [high, low] = image(secret.0, message(domain, kind, id));
        IndexKey { high, low }
    }

    /// The keys of many extents, several times as fast.
    pub fn many<'a>(
        secret: &Secret,
        names: impl IntoIterator<Item = (Domain, Kind, &'a ContentId), IntoIter: ExactSizeIterator>,
    ) -> Vec<IndexKey> {
        let mut names = names.into_iter();
        let mut keys = Vec::with_capacity(names.len());
        while names.len() > FEW {
            let count = names.len().min(LANES);
            let mut messages = [[0; LANES]; WORDS];
            for (lane, (domain, kind, id)) in names.by_ref().take(count).enumerate() {
                for (row, word) in messages.iter_mut().zip(message(domain, kind, id)) {
                    row[lane] = word;
                }
            }
            let [high, low] = images_of_group(secret.0, &messages);
            let images = high.into_iter().zip(low).take(count);
            keys.extend(images.map(|(high, low)| IndexKey { high, low }));
        }
        keys.extend(names.map(|(domain, kind, id)| IndexKey::new(secret, domain, kind, id)));
        keys
    }

    /// Stripe the key belongs to, below [`STRIPES`].
    #[inline]
    pub fn stripe(&self) -> usize {
        // The shift leaves log2(STRIPES) bits.
        (self.high >> (64 - STRIPES.trailing_zeros())) as usize
    }

    /// Byte compared before the rest is; shares no bit with stripe and tail.
    #[inline]
    pub(super) fn print(&self) -> u8 {
        self.high as u8
    }

    /// All other bits, [`TAIL_BITS`] of them; the lowest choose a bucket within the stripe.
    #[inline]
    pub(super) fn tail(&self) -> u128 {
        let middle = (self.high << STRIPES.trailing_zeros()) >> (STRIPES.trailing_zeros() + u8::BITS);
        u128::from(middle) << u64::BITS | u128::from(self.low)
    }

    /// The key of these parts.
    pub(super) fn of(stripe: usize, print: u8, tail: u128) -> IndexKey {
        let stripe = (stripe as u64) << (u64::BITS - STRIPES.trailing_zeros());
        IndexKey {
            high: stripe | ((tail >> u64::BITS) as u64) << u8::BITS | u64::from(print),
            low: tail as u64, // the low half
        }
    }
}

/// What the pseudo-random function sees of a name, as words and with its length.
#[inline]
fn message(domain: Domain, kind: Kind, id: &ContentId) -> [u64; WORDS] {
    let [a, b, c, d] = id_words(&id.0);
    let rest = u64::from(domain.0) | u64::from(kind as u8) << 32;
    [a, b, c, d, rest | (MESSAGE_BYTES as u64) << 56]
}

#[inline]
fn id_words(bytes: &[u8; 32]) -> [u64; 4] {
    let (words, _) = bytes.as_chunks();
    std::array::from_fn(|word| u64::from_le_bytes(words[word]))
}

/// One 64-bit word: the key is pseudo-random already, so a table may use it as it is.
impl Hash for IndexKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.low ^ self.high.rotate_left(32));
    }
}

impl fmt::Debug for IndexKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.high, self.low)
    }
}

const _: () = assert!(MESSAGE_BYTES / 8 == WORDS - 1);
const _: () = assert!(STRIPES.is_power_of_two() && STRIPES <= 1 << 10);

/// Hashes index keys by themselves: they are images of a keyed pseudo-random function already.
#[derive(Debug, Clone, Copy, Default)]
pub struct KeyHasher(u64);

impl std::hash::Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not reached by `IndexKey`, which hashes two words; any other key still works.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 ^= word;
    }
}

/// A set of index keys.
pub type KeySet = std::collections::HashSet<IndexKey, std::hash::BuildHasherDefault<KeyHasher>>;

//! CRC-32C, plain and seeded with the store secret.
//!
//! A seeded checksum covers the secret first, so bytes of another store, or bytes a user chose, never pass for a
//! structure of this one by accident. Source: RFC 3720 section 12.1 (Castagnoli polynomial).

use crc_fast::{CrcAlgorithm, Digest};

/// Random bytes drawn when the store is made; seeds checksums and the index key function.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub [u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// CRC-32C of `bytes`.
pub fn crc32c(bytes: &[u8]) -> u32 {
    low_half(crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes))
}

/// CRC-32C of bytes that come in pieces.
pub struct Crc32c(Digest);

impl Default for Crc32c {
    /// Of nothing yet.
    fn default() -> Crc32c {
        Crc32c(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }
}

impl Crc32c {
    /// Adds a piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// Of all pieces.
    pub fn finish(self) -> u32 {
        low_half(self.0.finalize())
    }
}

/// CRC-32C of the secret followed by `parts`.
pub fn seeded(secret: &Secret, parts: &[&[u8]]) -> u32 {
    let mut checksum = Crc32c::default();
    checksum.update(&secret.0);
    parts.iter().for_each(|part| checksum.update(part));
    checksum.finish()
}

/// `crc-fast` returns every width as `u64`.
fn low_half(checksum: u64) -> u32 {
    u32::try_from(checksum & 0xffff_ffff).expect("masked to 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the polynomial and bit order of RFC 3720. Method: its test vectors (appendix B.4).
    #[test]
    fn agrees_with_the_published_vectors() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    /// Goal: structures of another store are refused. Method: the same bytes under two secrets.
    #[test]
    fn depends_on_the_secret_and_on_how_bytes_follow_each_other() {
        let (one, two) = (Secret([1; 32]), Secret([2; 32]));
        assert_ne!(seeded(&one, &[b"frame"]), seeded(&two, &[b"frame"]));
        assert_eq!(seeded(&one, &[b"fr", b"ame"]), seeded(&one, &[b"frame"]));
    }
}

//! Hashing of a stream, piece by piece.

use blake3::hazmat::HasherExt;

use super::Context;
use crate::format::ContentId;

/// Computes one id from pieces. Pieces of 64 KiB and more run at full SIMD width.
#[derive(Debug, Clone)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// A hasher of user content (plain BLAKE3).
    pub fn new() -> Self {
        Hasher::with_context(Context::Plain)
    }

    /// A hasher of what `context` stands for.
    pub fn with_context(context: Context) -> Self {
        Hasher(match context.key() {
            None => blake3::Hasher::new(),
            Some(key) => blake3::Hasher::new_from_context_key(key),
        })
    }

    /// Adds the next piece.
    pub fn update(&mut self, piece: &[u8]) -> &mut Self {
        self.0.update(piece);
        self
    }

    /// Adds `count` zero bytes (a hole).
    pub fn update_zeroes(&mut self, mut count: u64) -> &mut Self {
        static ZEROES: [u8; 64 << 10] = [0; 64 << 10];
        while count > 0 {
            let step = usize::try_from(count).unwrap_or(usize::MAX).min(ZEROES.len());
            self.0.update(&ZEROES[..step]);
            count -= step as u64;
        }
        self
    }

    /// The id of everything added so far.
    pub fn finish(&self) -> ContentId {
        ContentId(*self.0.finalize().as_bytes())
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Hasher::new()
    }
}

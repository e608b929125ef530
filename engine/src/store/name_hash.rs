//! The hash of root names in memory: SipHash-1-3 (Aumasson and Bernstein, 2012) under a secret of the table's own.
//!
//! Clients choose the names, so a table of them needs a keyed hash. This is the one of the standard library's tables, taken
//! over a name in one step; theirs goes through a buffer that takes bytes in pieces, and a name's length is a piece, which is
//! twice the instructions for a short name (260 instead of 130). A commit looks its branch up four times.

use std::hash::{BuildHasher, Hasher, RandomState};

use siphasher::sip::SipHasher13;

/// Makes the hashers of one table. Each has a secret of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct NameHash(SipHasher13);

impl Default for NameHash {
    fn default() -> NameHash {
        // The standard library's way to random numbers that nobody outside the process knows.
        let random = RandomState::new();
        NameHash(SipHasher13::new_with_keys(
            random.hash_one(0u8),
            random.hash_one(1u8),
        ))
    }
}

impl BuildHasher for NameHash {
    type Hasher = NameHasher;

    fn build_hasher(&self) -> NameHasher {
        NameHasher {
            sip: self.0,
            image: 0,
        }
    }
}

/// Hashes one name.
pub(super) struct NameHasher {
    sip: SipHasher13,
    image: u64,
}

impl Hasher for NameHasher {
    fn write(&mut self, name: &[u8]) {
        // Only a key of several parts comes here twice. No table has one; it would still be hashed whole.
        self.image = self.image.rotate_left(1) ^ self.sip.hash(name);
    }

    /// The length of a name, which is in its image already.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.image
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: equal names are found however they are held, others and other tables' are not. Method: the images of a name as
    /// a slice and as a shared one, of its beginning, of two names in turns, and under another table's secret.
    #[test]
    fn a_name_has_one_image_in_its_table() {
        let (table, other) = (NameHash::default(), NameHash::default());
        let shared: std::sync::Arc<[u8]> = (*b"agent-1").into();
        assert_eq!(table.hash_one(&b"agent-1"[..]), table.hash_one(&shared));
        assert_ne!(table.hash_one(&b"agent-1"[..]), table.hash_one(&b"agent-"[..]));
        assert_ne!(table.hash_one(&b"agent-1"[..]), table.hash_one(&b"agent-1\0"[..]));
        assert_ne!(table.hash_one(&shared), other.hash_one(&shared));
        let names = |first: &[u8], second: &[u8]| table.hash_one((first, second));
        assert_ne!(names(b"a", b"b"), names(b"b", b"a"));
    }
}

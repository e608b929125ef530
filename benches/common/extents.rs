//! Stores of very many very small extents, and reading as much of a file.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use bytes::Bytes;
use helios_engine::format::{Domain, Kind};
use helios_engine::hash;
use helios_engine::store::{Extent, Key, Store};

use crate::sandbox::time;

/// Bytes of each content: small, so that descriptors are what counts.
pub const LEN: usize = 64;
/// Contents hashed and put together.
const AT_ONCE: u64 = 4096;
/// Bytes that a descriptor takes in a footer.
pub const DESCRIPTOR_BYTES: u64 = 64;

/// Puts the contents with these numbers.
pub fn fill(store: &Store, from: u64, to: u64) {
    let mut at = from;
    while at < to {
        let end = (at + AT_ONCE).min(to);
        let contents: Vec<Bytes> = (at..end).map(small).collect();
        let ids = hash::content_ids(&contents.iter().map(|bytes| &bytes[..]).collect::<Vec<_>>());
        let extents = ids.into_iter().zip(contents).map(|(id, bytes)| Extent {
            key: Key {
                domain: Domain(0),
                kind: Kind::Data,
                id,
            },
            bytes,
        });
        let extents: Vec<Extent> = extents.collect();
        store.block_on(async {
            let mut batch = store.batch();
            batch.put(extents).await.expect("room");
            batch.submit().await.expect("room");
        });
        at = end;
    }
}

fn small(number: u64) -> Bytes {
    let mut bytes = vec![7; LEN];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Bytes::from(bytes)
}

/// Time of reading that many bytes of a file past the page cache.
pub fn raw_read(path: &Path, bytes: u64) -> u64 {
    #[repr(align(4096))]
    struct Aligned([u8; 1 << 20]);
    let direct = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).expect("a flag");
    let mut file = File::options()
        .read(true)
        .custom_flags(direct)
        .open(path)
        .expect("the store");
    let mut block = Box::new(Aligned([0; 1 << 20]));
    let (took, ()) = time(|| {
        let mut left = bytes;
        while left > 0 {
            let read = file.read(&mut block.0).expect("readable") as u64;
            assert!(read > 0, "the store is shorter than what it holds");
            left = left.saturating_sub(read);
        }
    });
    took
}

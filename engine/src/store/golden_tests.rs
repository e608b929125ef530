//! The golden image: what a store looked like when it was last looked at on purpose. See `golden/README.md`.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::testing::{self, data};
use super::*;
use crate::device::sim::{Image, SimDevice};
use crate::limits::UNIT_BYTES;

const BYTES: u64 = 48 << 20;

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/v0.image")
}

/// Contents of every alignment class.
fn contents() -> Vec<Bytes> {
    [0usize, 1, 33, 1024, 4095, 4096, 5000, 8192, 40_000]
        .into_iter()
        .map(|len| Bytes::from((0..len).map(|at| (at * 7 % 251) as u8).collect::<Vec<_>>()))
        .collect()
}

/// One clean close, one end without a close, one recovery, one clean close.
fn write() -> Arc<SimDevice> {
    let device = testing::device_seeded(0, BYTES);
    let store = testing::create_driven(&device, 1, 0);
    let root = |name: &str, target| RootUpdate {
        kind: RootKind::Branch,
        name: Arc::from(name.as_bytes()),
        expect: Expect::Absent,
        change: RootChange::Set {
            target: Some(target),
            data: Bytes::from_static(b"golden"),
        },
    };
    let put = |store: &Store, name: &str, contents: &[Bytes]| {
        let mut batch = store.batch_on(0);
        let extents: Vec<Extent> = contents.iter().map(data).collect();
        let key = extents[0].key;
        batch.set_root(root(
            name,
            Target {
                kind: key.kind,
                id: key.id,
            },
        ));
        store.block_on(async {
            batch.put(extents).await.unwrap();
            batch.submit().await.unwrap().durable().await.unwrap();
        });
    };
    put(&store, "first", &contents()[..5]);
    store.close().unwrap();
    let store = testing::open_driven(&device, 1, 0).unwrap();
    put(&store, "second", &contents()[5..]);
    testing::abandon(store);
    let store = testing::open_driven(&device, 1, 0).unwrap();
    store.close().unwrap();
    device
}

fn pack(image: &Image) -> Vec<u8> {
    let mut bytes = Vec::new();
    for unit in image.units() {
        let whole = image.peek(unit * UNIT_BYTES as u64, UNIT_BYTES);
        let len = whole
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        bytes.extend_from_slice(&u32::try_from(unit).unwrap().to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(len).unwrap().to_le_bytes());
        bytes.extend_from_slice(&whole[..len]);
    }
    bytes
}

fn unpack(mut bytes: &[u8]) -> Image {
    let mut image = Image::zeroes(BYTES);
    while let Some((head, rest)) = bytes.split_at_checked(8) {
        let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
        let (unit, rest) = rest.split_at(number(4) as usize);
        image.poke(u64::from(number(0)) * UNIT_BYTES as u64, unit);
        bytes = rest;
    }
    image
}

/// Goal: a store written by an earlier build opens, and says what it said. Method: the image in the repository.
#[test]
fn the_golden_image_opens_and_is_complete() {
    let Ok(packed) = std::fs::read(path()) else {
        panic!(
            "{} is missing; write it with HELIOS_GOLDEN=write",
            path().display()
        )
    };
    let device = SimDevice::from_image(0, unpack(&packed));
    let store = testing::open(&device, 1);
    assert_eq!(store.health().damage, []);
    for content in contents() {
        assert_eq!(store.block_on(store.get(data(&content).key)).unwrap(), content);
    }
    let names: Vec<_> = store
        .roots(RootKind::Branch)
        .into_iter()
        .map(|root| root.name)
        .collect();
    assert_eq!(names, [Arc::from(&b"first"[..]), Arc::from(&b"second"[..])]);
    store.close().unwrap();
}

/// Goal: no byte of the format changes unnoticed. Method: the same workload must write the golden image again.
#[test]
fn the_golden_image_is_still_what_is_written() {
    let packed = pack(&write().image());
    if std::env::var_os("HELIOS_GOLDEN").is_some_and(|word| word == "write") {
        std::fs::write(path(), &packed).unwrap();
    }
    let golden = std::fs::read(path()).unwrap_or_default();
    assert!(
        golden == packed,
        "the format has changed; if that is meant, see golden/README.md"
    );
}

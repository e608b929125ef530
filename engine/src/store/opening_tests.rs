//! What is refused when a store is made or opened, with which reason, and that the device stays as it was; and that one
//! whole copy of whatever is kept twice is enough.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use zerocopy::FromBytes;
use zerocopy::little_endian::{U16, U32, U64};

use super::segments::Places;
use super::testing::{self, data};
use super::*;
use crate::device::Address;
use crate::device::sim::{Image, SimDevice};
use crate::error::Error;
use crate::format::SegmentId;
use crate::format::checkpoint::PartHeader;
use crate::format::superblock::Superblock;
use crate::limits::{ROOT_DATA_BYTES_MAX, STORE_BYTES_MIN, UNIT_BYTES};
use crate::reactor::Config;

const BYTES: u64 = 64 << 20;

fn content() -> Bytes {
    Bytes::from_static(b"what is still there")
}

/// A closed store that holds [`content`].
fn closed() -> Arc<SimDevice> {
    let device = testing::device_seeded(1, BYTES);
    let store = testing::create_driven(&device, 1, 1);
    store.block_on(async {
        let mut batch = store.batch();
        batch.put(vec![data(&content())]).await.unwrap();
        batch.submit().await.unwrap();
    });
    store.close().unwrap();
    device
}

fn open(device: &Arc<SimDevice>) -> Result<Store> {
    testing::open_driven(device, 1, 1)
}

/// Why the store is refused; refusing changes nothing on the device.
fn refused(device: &Arc<SimDevice>) -> Error {
    let before = device.changes();
    let error = open(device).expect_err("refused");
    assert_eq!(device.changes(), before, "{error}");
    error
}

#[track_caller]
fn refused_because(device: &Arc<SimDevice>, reason: &str) {
    let error = refused(device);
    assert!(
        matches!(&error, Error::NotAStore { reason: why, .. } if why.contains(reason)),
        "{error}"
    );
}

fn superblock(device: &SimDevice) -> Superblock {
    Superblock::decode(&device.peek(0, UNIT_BYTES), 0).expect("a whole superblock")
}

/// Where the two copies of the superblock lie.
fn offsets(block: &Superblock) -> [(u16, u64); 2] {
    [(0, 0), (1, Superblock::second_offset(block.capacity_units.get()))]
}

/// Writes both copies of the superblock anew after `change`.
fn rewrite(device: &SimDevice, change: impl Fn(&mut Superblock)) {
    let mut block = superblock(device);
    let offsets = offsets(&block);
    change(&mut block);
    for (copy, offset) in offsets {
        device.poke(offset, &block.encode(copy));
    }
}

/// Where the parts of one copy of the checkpoint begin: behind the headers of their segments.
fn parts(device: &SimDevice, copy: usize) -> Vec<u64> {
    let block = superblock(device);
    let places = Places::of(&block);
    let mut physical = block.checkpoints[copy].physical.get();
    let mut found = Vec::new();
    loop {
        let at = places.offset(SegmentId(physical), UNIT_BYTES as u64);
        found.push(at);
        let bytes = device.peek(at, size_of::<PartHeader>());
        let part = PartHeader::read_from_bytes(&bytes).expect("as long as a header");
        if found.len() == part.parts.get() as usize {
            return found;
        }
        physical = part.next_physical.get();
    }
}

/// Goal: what holds no store is refused as such, and told apart from one that is cut off or of another version.
/// Method: no bytes, zeroes, other data, a store without its end, and versions before and after this one.
#[test]
fn what_is_no_store_is_told_apart() {
    refused_because(&SimDevice::new(1, 0), "it is empty");
    let device = testing::device_seeded(1, BYTES);
    refused_because(&device, "it holds other data");
    device.poke(0, &[b'x'; 2 * UNIT_BYTES]);
    refused_because(&device, "it holds other data");

    let whole = closed().image();
    let mut short = Image::zeroes(BYTES - (1 << 20));
    for unit in whole
        .units()
        .filter(|unit| unit * UNIT_BYTES as u64 + (1 << 20) < BYTES)
    {
        let offset = unit * UNIT_BYTES as u64;
        short.poke(offset, &whole.peek(offset, UNIT_BYTES));
    }
    refused_because(
        &SimDevice::from_image(1, short),
        &format!("it was made {BYTES} bytes long and is now {}", BYTES - (1 << 20)),
    );

    for (version, reason) in [
        (0, "format version 0, which was made before"),
        (2, "use a newer one"),
    ] {
        let device = closed();
        rewrite(&device, |block| block.version = U16::new(version));
        refused_because(&device, reason);
    }
}

/// Goal: a feature this program does not know keeps it from reading, or from writing only, as the feature asks. Method:
/// a bit of either kind in both superblocks.
#[test]
fn unknown_features_are_respected() {
    let device = closed();
    rewrite(&device, |block| block.incompatible = U64::new(4));
    let error = refused(&device);
    assert!(matches!(error, Error::Unsupported { bits: 4, .. }), "{error}");

    let device = closed();
    rewrite(&device, |block| block.read_only_compatible = U64::new(2));
    let before = device.changes();
    let store = open(&device).expect("readable");
    assert!(store.health().read_only.is_some());
    assert_eq!(
        store.block_on(store.get(data(&content()).key)).unwrap(),
        content()
    );
    let put = store.block_on(async {
        let mut batch = store.batch();
        batch.put(vec![data(&Bytes::from_static(b"new"))]).await?;
        batch.submit().await
    });
    assert!(matches!(put, Err(Error::ReadOnly { .. })), "{put:?}");
    store.close().unwrap();
    assert_eq!(device.changes(), before);
}

/// Goal: either copy of superblock and checkpoint is enough; without both, the reasons name both. Method: damage each
/// of the four alone, then both of a kind.
#[test]
fn one_whole_copy_is_enough() {
    let places = |device: &SimDevice| {
        let block = superblock(device);
        [
            offsets(&block).map(|(_, offset)| offset + 100),
            // The bytes of the only part, behind its header.
            [0, 1].map(|copy| parts(device, copy)[0] + size_of::<PartHeader>() as u64 + 3),
        ]
    };
    for kind in 0..2 {
        for copy in 0..2 {
            let device = closed();
            device.flip(places(&device)[kind][copy], 5);
            let store = open(&device).expect("the other copy is whole");
            assert_eq!(
                store.block_on(store.get(data(&content()).key)).unwrap(),
                content()
            );
        }
        let device = closed();
        for offset in places(&device)[kind] {
            device.flip(offset, 5);
        }
        let reason = match kind {
            0 => "both superblocks are unusable (first: superblock damaged; last: superblock damaged)",
            _ => {
                "both copies of its checkpoint are unusable (copy 0: the bytes of part 0 are damaged; copy 1: the bytes \
                 of part 0 are damaged)"
            }
        };
        refused_because(&device, reason);
    }
}

/// Goal: the superblock with the higher sequence holds, wherever it is. Method: a feature in the newer one only, in
/// either place.
#[test]
fn the_newer_superblock_holds() {
    for newer in [0, 1] {
        let device = closed();
        let mut block = superblock(&device);
        block.sequence = U64::new(block.sequence.get() + 1);
        block.incompatible = U64::new(1);
        let (copy, offset) = offsets(&block)[newer];
        device.poke(offset, &block.encode(copy));
        let error = refused(&device);
        assert!(matches!(error, Error::Unsupported { bits: 1, .. }), "{error}");
    }
}

/// Goal: a checkpoint that is not where the superblock says is refused, not followed. Method: places outside the device,
/// a place with other bytes, the place of an earlier checkpoint.
#[test]
fn checkpoints_are_only_read_from_their_places() {
    let everywhere = |change: fn(&mut Superblock)| {
        let device = closed();
        rewrite(&device, change);
        device
    };
    let outside = everywhere(|block| {
        for place in &mut block.checkpoints {
            place.physical = U32::new(u32::MAX);
        }
    });
    refused_because(&outside, "segment 4294967295 lies outside the device");
    let elsewhere = everywhere(|block| {
        let last = block.segment_count.get() - 1;
        for place in &mut block.checkpoints {
            place.segment = U32::new(last);
            place.physical = U32::new(last);
        }
    });
    refused_because(&elsewhere, "no checkpoint in segment");
    let reused = everywhere(|block| {
        for place in &mut block.checkpoints {
            place.generation = U32::new(place.generation.get() + 1);
        }
    });
    refused_because(&reused, "no checkpoint in segment");
    let earlier = everywhere(|block| {
        block.checkpoint_sequence = U64::new(block.checkpoint_sequence.get() + 1);
    });
    refused_because(&earlier, "part 0 is damaged");
}

/// Goal: a checkpoint longer than a segment is read back whole, and each of its parts is checked. Method: roots with
/// more data than a segment has bytes; then damage the last part of one copy, then of both.
#[test]
fn long_checkpoints_take_several_segments() {
    let count = (5 << 20) / ROOT_DATA_BYTES_MAX;
    let name = |number: usize| Arc::<[u8]>::from(format!("root {number}").into_bytes());
    let stored = |number: usize| Bytes::from(vec![(number % 251) as u8; ROOT_DATA_BYTES_MAX]);
    let device = testing::device_seeded(2, 2 * BYTES);
    let store = testing::create_driven(&device, 1, 2);
    for numbers in (0..count).collect::<Vec<_>>().chunks(200) {
        let mut batch = store.batch();
        for number in numbers {
            batch.set_root(RootUpdate {
                kind: RootKind::Branch,
                name: name(*number),
                expect: Expect::Absent,
                change: RootChange::Set {
                    target: None,
                    data: stored(*number),
                },
            });
        }
        store.block_on(batch.submit()).unwrap();
    }
    store.close().unwrap();

    let places = [0, 1].map(|copy| parts(&device, copy));
    assert!(places.iter().all(|parts| parts.len() >= 2), "{places:?}");
    let all_there = |device: &Arc<SimDevice>| {
        let store = open(device).expect("a whole copy");
        assert_eq!(store.roots(RootKind::Branch).len(), count);
        for number in 0..count {
            let root = store.root(RootKind::Branch, &name(number)).expect("a root");
            assert_eq!(root.data, stored(number));
        }
        testing::abandon(store);
    };
    let image = device.image();
    let last = places.map(|parts| *parts.last().unwrap());
    device.flip(last[0] + 1000, 1);
    let damaged_once = device.image();
    all_there(&SimDevice::from_image(2, image));
    all_there(&SimDevice::from_image(2, damaged_once));
    device.flip(last[1] + 10, 1);
    refused_because(&device, "are damaged; copy 1: part");
}

fn create(device: &Arc<SimDevice>, options: &CreateOptions) -> Result<()> {
    let config = Config {
        reactors: 1,
        pin: false,
        ..Config::default()
    };
    let runtime = crate::reactor::Runtime::driver(device.clone(), &config)?;
    Store::create_on(&runtime, "sim:1", options)
}

/// Goal: nothing is overwritten unless that is asked for, and no store is made that could not work. Method: a store,
/// other data, devices that are too small, and segments of impossible sizes.
#[test]
fn stores_are_made_only_where_they_can_be() {
    let forced = CreateOptions {
        force: true,
        ..CreateOptions::default()
    };
    let mut foreign = Image::zeroes(BYTES);
    foreign.poke(10, b"something");
    for (device, what) in [
        (closed(), "a Helios store"),
        (SimDevice::from_image(1, foreign), "other data"),
    ] {
        let before = device.changes();
        let error = create(&device, &CreateOptions::default()).unwrap_err();
        assert!(
            matches!(&error, Error::Refused { what: found } if found.contains(what)),
            "{error}"
        );
        assert_eq!(device.changes(), before);
        create(&device, &forced).unwrap();
        let store = open(&device).expect("a new store");
        assert_eq!(store.contains(&[data(&content()).key]), [false]);
    }
    for bytes in [0, UNIT_BYTES as u64, STORE_BYTES_MIN - UNIT_BYTES as u64] {
        let error = create(&SimDevice::new(1, bytes), &forced).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
    }
    for segment_bytes in [0, 2 << 20, 5 << 20, 128 << 20] {
        let options = CreateOptions {
            segment_bytes: Some(segment_bytes),
            ..CreateOptions::default()
        };
        let device = SimDevice::new(1, BYTES);
        let error = create(&device, &options).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        assert_eq!(device.changes(), 0);
    }
}

/// Goal: the same for files: one that holds something is kept unless forced, an empty one is used, and what is no file is
/// an error. Method: all of them, and the bytes of the one that is kept.
#[test]
fn files_are_made_stores_only_where_they_can_be() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let create = |path: &Path, force| {
        let options = CreateOptions {
            size: STORE_BYTES_MIN + 5,
            force,
            ..CreateOptions::default()
        };
        Store::create(&Address::Path(path.to_owned()), &options)
    };
    std::fs::write(&path, "precious").unwrap();
    let error = create(&path, false).unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    create(&path, true).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), STORE_BYTES_MIN);
    let error = create(&path, false).unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");

    let empty = directory.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    create(&empty, false).unwrap();
    let options = OpenOptions {
        reactors: Config {
            reactors: 1,
            pin: false,
            ..Config::default()
        },
        ..OpenOptions::default()
    };
    let store = Store::open(&Address::Path(empty), &options).unwrap();
    assert_eq!(store.health().damage, []);
    store.close().unwrap();

    assert!(create(directory.path(), true).is_err());
    let nowhere = directory.path().join("missing");
    let error = Store::open(&Address::Path(nowhere.clone()), &options).expect_err("refused");
    assert!(matches!(error, Error::NotAStore { .. }), "{error}");
    assert!(!nowhere.exists(), "asking makes nothing");
    let error = create(&nowhere.join("store"), false).unwrap_err();
    assert!(matches!(error, Error::Path { .. }), "{error}");
}

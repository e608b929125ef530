//! Where fuzzing begins: one valid input or more per target, taken from a store that the engine made.
//!
//! The files in `engine/fuzz/corpus` are these, and whatever once failed. A change of the format needs new ones; a test
//! says so and writes them (`HELIOS_CORPUS=write`).

use bytes::Bytes;

use super::image::base;
use crate::device::sim::Image;
use crate::format::checkpoint::{PART_MAGIC, PartHeader};
use crate::format::frame::{self, Descriptor, FrameHeader};
use crate::format::segment::{HEADER_MAGIC, TRAILER_MAGIC, Trailer};
use crate::format::{Kind, superblock};
use crate::limits::UNIT_BYTES;
use zerocopy::FromBytes;

/// Longest seed.
const SEED_BYTES_MAX: usize = 6 << 10;

/// Bytes that follow from a number and do not repeat within a chunk.
pub(super) fn content(number: u64, len: usize) -> Bytes {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..len).map(|_| next()).collect()
}

/// What people type.
const TYPED: [&str; 11] = [
    "main~3:directory 1/file 2",
    "agent/7@{1d12h}^^~2",
    "main@{2026-11-21T09:30:00.25+01:00}",
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "36h",
    "2026-11-21",
    "a//b/./c/",
    "sim:7",
    "file:/var/lib/helios",
    "nvme:0000:01:00.0/1",
    "nvme+tcp://[::1]:4420/nqn.2026-01.io.helios:a/1",
];

/// Changes of an image: see `image`.
const CHANGES: [&[u8]; 6] = [
    &[0],
    &[1],
    &[1, 0, 3, 0, 40, 0, 2, 255, 255],
    &[0, 2, 1, 0, 5, 0],
    &[1, 4, 9, 0, 2, 3, 7, 0, 8, 0],
    &[1, 1, 4, 0, 20, 0, 4, 9, 9, 9, 9],
];

/// The seeds, each with the name of its target and of its file.
pub fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut found: Vec<(&'static str, String, Vec<u8>)> = Vec::new();
    for (number, text) in TYPED.iter().enumerate() {
        found.push((
            "command_line",
            format!("typed-{number}"),
            text.as_bytes().to_vec(),
        ));
    }
    for (number, changes) in CHANGES.iter().enumerate() {
        found.push(("open_image", format!("changes-{number}"), changes.to_vec()));
    }
    let image = base(false).image();
    for unit in image.units() {
        let offset = unit * UNIT_BYTES as u64;
        let bytes = image.peek(offset, UNIT_BYTES);
        if bytes[4..12] == superblock::MAGIC {
            found.push(("superblock", format!("unit-{unit}"), trimmed(bytes)));
        } else if bytes[4..8] == HEADER_MAGIC {
            found.push(("segment", format!("header-{unit}"), trimmed(bytes)));
        } else if bytes[4..8] == PART_MAGIC {
            let (header, _) = PartHeader::read_from_prefix(&bytes).expect("a unit is longer");
            let len = usize::try_from(header.part_bytes.get()).expect("a small store");
            let body = image.peek(offset + size_of::<PartHeader>() as u64, len);
            found.push((
                "checkpoint",
                format!("header-{unit}"),
                bytes[..size_of::<PartHeader>()].to_vec(),
            ));
            found.push(("checkpoint", format!("body-{unit}"), body));
        } else if let Some(len) = frame::head_bytes_hint(&bytes) {
            let head = image.peek(offset, len);
            payload(image, &head, offset, &mut found);
            found.push(("frame_head", format!("unit-{unit}"), head));
        } else if bytes[UNIT_BYTES - size_of::<Trailer>() + 4..][..4] == TRAILER_MAGIC {
            found.push(("segment", format!("footer-{unit}"), bytes));
        }
    }
    // A few of each are enough: the fuzzer finds the rest.
    let mut count = std::collections::BTreeMap::new();
    found.retain(|(target, name, bytes)| {
        let kind = name.split('-').next().map(str::to_owned);
        let seen = count.entry((*target, kind)).or_insert(0);
        let keep = bytes.len() <= SEED_BYTES_MAX && *seen < 12;
        *seen += usize::from(keep);
        keep
    });
    found
}

/// What a frame carries, by kind.
fn payload(image: &Image, head: &[u8], offset: u64, found: &mut Vec<(&'static str, String, Vec<u8>)>) {
    let (header, rest) = FrameHeader::read_from_prefix(head).expect("the hint was longer");
    let start = u64::from(header.unit.get()) * UNIT_BYTES as u64;
    let skip = usize::from(header.dependencies.get()) * size_of::<frame::Dependency>();
    let Ok(descriptors) = <[Descriptor]>::ref_from_bytes(&rest[skip..]) else {
        return;
    };
    for descriptor in descriptors {
        let target = match descriptor.kind() {
            Some(Kind::Manifest) => "manifest",
            Some(Kind::Node) => "node",
            Some(Kind::Commit) => "commit",
            Some(Kind::Root) => "root_record",
            _ => continue,
        };
        let at = offset - start + u64::from(descriptor.offset.get());
        let bytes = image.peek(at, descriptor.stored_len.get() as usize);
        found.push((target, format!("extent-{at}"), bytes));
    }
}

fn trimmed(mut bytes: Vec<u8>) -> Vec<u8> {
    let used = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    bytes.truncate(used);
    bytes
}

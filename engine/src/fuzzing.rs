//! What the fuzzers call: one function per kind of input, each saying what must hold for every input.
//!
//! Owns the functions behind `engine/fuzz` and their list; the same functions run over the kept corpus in an ordinary
//! test (`tests`), so that a toolchain without `cargo fuzz` checks them too.
//! Invariant: a function ends without a panic for every input; whatever is wrong with one is an error value.
//! Checksums would stop nearly every mutated input at the door, so each function looks at its input twice: as it is,
//! and with its checksums made right, which is what a mistake in a writer would leave.
//! Rejected: generating inputs by structure; the formats are plain records, and mutation finds their fields.

mod image;
mod seeds;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use zerocopy::IntoBytes;

use crate::device::Address;
use crate::format::branch::BranchData;
use crate::format::checkpoint::{Checkpoint, PartHeader};
use crate::format::checksum::{Secret, crc32c, seeded};
use crate::format::commit::CommitView;
use crate::format::frame::{self, FrameHeader, Place};
use crate::format::manifest::Manifest;
use crate::format::node::{NodeView, XattrView, xattrs};
use crate::format::quota::QuotaRecord;
use crate::format::root_record::RootRecord;
use crate::format::segment::{SegmentHeader, Trailer, footer_units};
use crate::format::superblock::Superblock;
use crate::format::{ContentId, Kind};
use crate::limits::{SEGMENT_BYTES, UNIT_BYTES};
use crate::trees::{TreePath, commit_references, extent_references, parse_span, parse_when};

pub use image::open_image;
pub use seeds::seeds;

/// A fuzz target: its name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 10] = [
    ("superblock", superblock),
    ("segment", segment),
    ("frame_head", frame_head),
    ("checkpoint", checkpoint),
    ("root_record", root_record),
    ("manifest", manifest),
    ("node", node),
    ("commit", commit),
    ("open_image", open_image),
    ("command_line", command_line),
];

/// The secret of whatever the targets seal.
const SECRET: Secret = Secret([7; 32]);

/// A copy of `bytes` whose first four are the seeded checksum of the rest of its first `len`.
fn sealed(bytes: &[u8], len: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if (4..=bytes.len()).contains(&len) {
        let checksum = seeded(&SECRET, &[&bytes[4..len]]);
        bytes[..4].copy_from_slice(&checksum.to_le_bytes());
    }
    bytes
}

/// A superblock is refused with a reason, or comes out of its encoding again.
pub fn superblock(bytes: &[u8]) {
    let mut right = bytes.to_vec();
    right.resize(UNIT_BYTES, 0);
    let checksum = crc32c(&right[4..]);
    right[..4].copy_from_slice(&checksum.to_le_bytes());
    for (bytes, copy) in [(bytes, 0), (&right, 0), (&right, 1)] {
        if let Ok(block) = Superblock::decode(bytes, copy) {
            let _ = Superblock::second_offset(block.capacity_units.get());
            let again =
                Superblock::decode(&block.encode(copy), copy).expect("what was accepted is accepted again");
            assert_eq!(again.as_bytes()[4..], block.as_bytes()[4..]);
        }
    }
}

/// A segment's header, trailer and footer are refused or lie within the segment.
pub fn segment(bytes: &[u8]) {
    let units = u32::try_from(SEGMENT_BYTES[0] / UNIT_BYTES as u64).expect("small");
    for bytes in [bytes, &sealed(bytes, size_of::<SegmentHeader>())] {
        let _ = SegmentHeader::decode(bytes, &SECRET);
    }
    let mut right = bytes.to_vec();
    if let Some(start) = right.len().checked_sub(size_of::<Trailer>()) {
        let trailer = sealed(&right[start..], size_of::<Trailer>());
        right.truncate(start);
        right.extend(trailer);
    }
    for bytes in [bytes, &right] {
        for units in [units, 0, 1] {
            if let Some(trailer) = Trailer::decode(bytes, units, &SECRET) {
                let footer = trailer.first_unit.get() + footer_units(trailer.count.get() as usize);
                assert_eq!(footer, units, "a footer ends where its segment does");
                let _ = trailer.descriptors(bytes);
            }
        }
    }
}

/// A frame's head is refused, or all it names lies within the frame.
pub fn frame_head(bytes: &[u8]) {
    let _ = frame::head_bytes_hint(bytes);
    let Some(header) = bytes.first_chunk::<{ size_of::<FrameHeader>() }>() else {
        let place = Place {
            store: [0; 16],
            segment: 0,
            generation: 0,
            log: 0,
        };
        assert!(frame::decode_head(bytes, &place, 0, &SECRET).is_err());
        return;
    };
    let header: FrameHeader = zerocopy::transmute!(*header);
    let place = Place {
        store: header.store,
        segment: header.segment.get(),
        generation: header.generation.get(),
        log: header.log.get(),
    };
    let head = frame::head_bytes(
        usize::from(header.dependencies.get()),
        header.descriptors.get() as usize,
    );
    for bytes in [bytes, &sealed(bytes, head)] {
        if let Ok(head) = frame::decode_head(bytes, &place, header.unit.get(), &SECRET) {
            let start = u64::from(header.unit.get()) * UNIT_BYTES as u64;
            let end = start + u64::from(header.units.get()) * UNIT_BYTES as u64;
            for descriptor in head.descriptors {
                let (from, len) = (descriptor.offset.get(), descriptor.stored_len.get());
                assert!(u64::from(from) >= start && u64::from(from) + u64::from(len) <= end);
                let _ = descriptor.kind();
            }
        }
    }
}

/// A checkpoint's part header and body are refused with a reason, or come out of their encoding again.
pub fn checkpoint(bytes: &[u8]) {
    for bytes in [bytes, &sealed(bytes, size_of::<PartHeader>())] {
        if let Some(header) = PartHeader::decode(bytes, &SECRET) {
            assert!(header.part_bytes.get() <= header.body_bytes.get());
        }
    }
    if let Ok(body) = Checkpoint::decode(bytes) {
        let again = Checkpoint::decode(&body.encode()).expect("what was accepted is accepted again");
        assert_eq!(again.encode(), body.encode());
    }
}

/// Root records, and what layers above keep in them, are refused or come out of their encoding again.
pub fn root_record(bytes: &[u8]) {
    let mut rest = bytes;
    while let Some((record, after)) = RootRecord::decode(rest) {
        assert!(after.len() < rest.len(), "a record takes bytes");
        let encoded = record.encode();
        assert_eq!(encoded.len(), record.encoded_len());
        let again = RootRecord::decode(&encoded);
        assert!(again.is_some_and(|(again, rest)| again == record && rest.is_empty()));
        branch_data(&record.data);
        rest = after;
    }
    branch_data(bytes);
}

fn branch_data(bytes: &[u8]) {
    if let Ok(branch) = BranchData::decode(bytes) {
        assert_eq!(branch.encode(), bytes);
    }
    let _ = QuotaRecord::decode(bytes);
}

/// A manifest is refused, or its records add up to what it says.
pub fn manifest(bytes: &[u8]) {
    let mut right = bytes.to_vec();
    if right.len() >= 8 {
        // Magic, checksum of everything after it.
        let checksum = crc32c(&right[8..]);
        right[4..8].copy_from_slice(&checksum.to_le_bytes());
    }
    for bytes in [bytes, &right] {
        let bytes = Bytes::copy_from_slice(bytes);
        if let Ok((role, manifest)) = Manifest::decode_any(bytes.clone()) {
            let pieces: Vec<_> = manifest.pieces().collect();
            assert_eq!(pieces.len(), manifest.len());
            let length = pieces
                .iter()
                .try_fold(0u64, |sum, piece| sum.checked_add(piece.length()));
            assert_eq!(length, Some(manifest.length()));
            assert_eq!(Manifest::encode(role, manifest.level(), &pieces), bytes);
        }
        let _ = crate::format::manifest::is_whole(&bytes);
        references(Kind::Manifest, &bytes);
    }
}

/// A tree node is refused, or every entry of it can be read.
pub fn node(bytes: &[u8]) {
    match NodeView::decode(bytes) {
        Ok(NodeView::Leaf(leaf)) => {
            for (at, (name, record, attributes)) in leaf.iter().enumerate() {
                assert_eq!(leaf.find(name), Ok(at));
                if let Ok(view) = record.attributes(attributes) {
                    let _ = view.encoded();
                    if let XattrView::Here(set) = view.xattrs {
                        assert!(xattrs(set).is_ok());
                    }
                }
                let _ = leaf.mtime_offset(at);
            }
        }
        Ok(NodeView::Inner(inner)) => {
            for (at, (name, _)) in inner.iter().enumerate() {
                assert_eq!(inner.child_for(name), at);
            }
            let _ = inner.entries();
        }
        Err(_) => {}
    }
    references(Kind::Node, &Bytes::copy_from_slice(bytes));
}

/// A commit is refused, or comes out of its encoding again.
pub fn commit(bytes: &[u8]) {
    if let Ok(view) = CommitView::decode(bytes) {
        let encoded = view.encode().expect("what was accepted can be encoded");
        assert_eq!(CommitView::decode(&encoded), Ok(view));
    }
    let _ = commit_references(bytes);
    references(Kind::Commit, &Bytes::copy_from_slice(bytes));
}

fn references(kind: Kind, bytes: &Bytes) {
    let mut found = Vec::new();
    let _ = extent_references(kind, bytes, &mut found);
}

/// Whatever is typed is refused with a reason or understood; what is understood keeps its meaning when shown.
pub fn command_line(bytes: &[u8]) {
    let _ = crate::trees::Revision::parse(bytes);
    if let Ok(path) = TreePath::new(bytes) {
        assert_eq!(TreePath::new(path.as_bytes()).expect("a normal path"), path);
        assert!(path.components().all(crate::format::node::is_name));
        if let (Some(parent), Some(name)) = (path.parent(), path.name()) {
            assert_eq!(parent.join(name), path);
            assert!(parent.contains(&path));
        }
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(id) = text.parse::<ContentId>() {
        assert_eq!(id.to_string().parse::<ContentId>(), Ok(id));
    }
    if let Ok(address) = text.parse::<Address>() {
        let shown = address.to_string();
        assert_eq!(shown.parse::<Address>().as_ref(), Ok(&address), "{shown}");
    }
    let _ = parse_span(text);
    if let Some(when) = parse_when(text, 1 << 60) {
        let shown = crate::trees::format_utc(when);
        let again = crate::trees::parse_absolute(&shown);
        assert_eq!(again, Some(when / 1_000_000_000 * 1_000_000_000), "{shown}");
    }
}

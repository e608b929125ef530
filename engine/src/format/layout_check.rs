//! Compares the byte tables of `FORMAT.md` with the structures in the code.

const DOCUMENT: &str = include_str!("../../FORMAT.md");

/// Rows of a structure's table: field name, offset, bytes.
fn documented(name: &str) -> (usize, Vec<(String, usize, usize)>) {
    let heading = format!("### `{name}`: ");
    let start = DOCUMENT
        .find(&heading)
        .unwrap_or_else(|| panic!("FORMAT.md has no table for {name}"));
    let mut lines = DOCUMENT[start + heading.len()..].lines();
    let size = lines
        .next()
        .and_then(|line| line.strip_suffix(" bytes"))
        .and_then(|size| size.parse().ok());
    let rows = lines
        .skip_while(|line| !line.starts_with("| ---"))
        .skip(1)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let number = |cell: &str| {
                cell.parse()
                    .unwrap_or_else(|_| panic!("{name}: `{cell}` is no number"))
            };
            (
                cells[3].trim_matches('`').to_owned(),
                number(cells[1]),
                number(cells[2]),
            )
        })
        .collect();
    (
        size.unwrap_or_else(|| panic!("{name}: the heading gives no size")),
        rows,
    )
}

/// Fails unless the table of `name` says exactly this: size of the structure, and its fields with their offsets.
pub(crate) fn compare(name: &str, size: usize, fields: &[(&str, usize)]) {
    let ends = fields.iter().skip(1).map(|(_, offset)| *offset).chain([size]);
    let actual: Vec<(String, usize, usize)> = fields
        .iter()
        .zip(ends)
        .map(|((field, offset), end)| ((*field).to_owned(), *offset, end - offset))
        .collect();
    assert_eq!(
        documented(name),
        (size, actual),
        "the table of {name} in FORMAT.md is not what the code does"
    );
}

/// Names a structure and all its fields in order: `layout!(Superblock: checksum, magic, ...)`.
macro_rules! layout {
    ($name:ident: $($field:ident),+ $(,)?) => {
        $crate::format::layout_check::compare(
            stringify!($name),
            std::mem::size_of::<$name>(),
            &[$((stringify!($field), std::mem::offset_of!($name, $field))),+],
        )
    };
}
pub(crate) use layout;

/// Goal: FORMAT.md is true. Method: offsets and sizes of every field, both ways.
#[test]
fn the_byte_tables_are_what_the_code_does() {
    use super::branch::{BranchHeader, BranchJump};
    use super::checkpoint::{Counters, LogRecord, PartHeader, SegmentRecord};
    use super::commit::{CommitField, CommitHeader};
    use super::frame::{Dependency, Descriptor, FrameHeader};
    use super::node::{InnerRecord, LeafRecord, NodeHeader};
    use super::quota::QuotaRecord;
    use super::root_record::RootHeader;
    use super::segment::{SegmentHeader, Trailer};
    use super::superblock::{CheckpointPlace, Superblock};
    layout!(Superblock: checksum, magic, version, copy, sequence, store, secret, incompatible, read_only_compatible, compatible, created_ns, capacity_units, segment_units, segment_count, first_segment_unit, device, devices, incarnation, closed, checkpoint_sequence, checkpoints, reserved);
    layout!(CheckpointPlace: segment, generation, physical);
    layout!(SegmentHeader: checksum, magic, version, holds, reserved, store, segment, generation, device, log, physical, units, incarnation);
    layout!(Trailer: checksum, magic, version, log, store, segment, generation, count, first_unit, end_unit, body_checksum, last, newest_ns);
    layout!(FrameHeader: checksum, magic, version, log, store, segment, generation, unit, units, incarnation, first, last, acknowledged, predecessor, next_segment, next_generation, descriptors, dependencies, reserved);
    layout!(Dependency: log, reserved, sequence);
    layout!(Descriptor: id, kind, codec, reserved, domain, key_id, plain_len, stored_len, checksum, offset, reserved_too);
    layout!(RootHeader: root, sequence, changed_ns, domain, kind, operation, target_kind, reserved, target, name_len, data_len);
    layout!(PartHeader: checksum, magic, version, copy, store, sequence, part, parts, part_bytes, body_bytes, part_checksum, body_checksum, next_segment, next_generation, next_physical, reserved);
    layout!(SegmentRecord: segment, generation, physical, device, log, state, reserved, end_unit, footer_unit, ready_unit);
    layout!(LogRecord: log, reserved, segment, generation, unit, next, predecessor, next_segment, next_generation, reserved_too);
    layout!(Counters: next_root, offered, new, offered_bytes, new_bytes, frame_bytes, commits, reserved);
    layout!(NodeHeader: version, level, count, names_bytes, attributes_bytes);
    layout!(LeafRecord: id, size, mode, kind, name_bytes, tags, attributes_bytes);
    layout!(InnerRecord: id, entries, name_bytes);
    layout!(CommitHeader: version, parents, fields, time_ns, files, bytes, root);
    layout!(CommitField: tag, length);
    layout!(BranchHeader: version, reserved, jumps, kept, reserved_too, created_ns, known_since_ns, base_time_ns, floor_ns, expires_ns, stored_bytes, stored_since_ns);
    layout!(QuotaRecord: version, reserved, limit_bytes, measured_bytes, measured_ns);
    layout!(BranchJump: time_ns, base_time_ns, floor_ns, old_head);
}

//! Every bound of the engine in one place, asserted against each other at compile time.

/// Unit of allocation and addressing on a device, in bytes.
pub const UNIT_BYTES: usize = 4096;
/// Largest extent, in bytes. Contents up to this size are one extent; larger ones are chunked.
pub const EXTENT_BYTES_MAX: usize = 1 << 20;
/// Largest frame, header and descriptors included, in bytes.
pub const FRAME_BYTES_MAX: usize = EXTENT_BYTES_MAX + (64 << 10);
/// Largest single transfer of a file or block device, in bytes.
pub const TRANSFER_BYTES_MAX: usize = 2 << 20;
/// Device memory one queue hands out before it falls back to the heap, in bytes.
pub const QUEUE_MEMORY_BYTES: usize = 32 << 20;
/// Content-defined chunks: smallest, average and largest, in bytes.
pub const CHUNK_BYTES: [usize; 3] = [16 << 10, 64 << 10, 256 << 10];
/// Shortest run of zero bytes that becomes a hole of a chunked content, in bytes; whole units.
pub const HOLE_BYTES_MIN: usize = 64 << 10;
/// Largest content, in bytes.
pub const CONTENT_BYTES_MAX: u64 = 1 << 50;
/// Largest content or range answered in one piece of memory, in bytes; larger ones are streamed.
pub const GET_BYTES_MAX: u64 = 1 << 30;
/// Longest name of one directory entry, in bytes (the same as Linux `NAME_MAX`).
pub const NAME_BYTES_MAX: usize = 255;
/// Longest name of a root (branch, tag, ...), in bytes.
pub const ROOT_NAME_BYTES_MAX: usize = 255;
/// Largest value stored inside a root record besides its target, in bytes.
pub const ROOT_DATA_BYTES_MAX: usize = 4096;
/// Records of one tree node: least, typical and most. Only the last node of a level may have fewer than the least.
pub const NODE_ENTRIES: [usize; 3] = [6, 12, 24];
/// Largest tree node, in bytes; a typical one has about 1 KiB.
pub const NODE_BYTES_MAX: usize = 24 << 10;
/// Extended attributes of one entry that encode to more bytes than this become a content of their own.
pub const XATTRS_INLINE_BYTES_MAX: usize = 512;
/// All extended attributes of one entry, encoded, in bytes.
pub const XATTRS_BYTES_MAX: usize = EXTENT_BYTES_MAX;
/// Name of one extended attribute, in bytes (the same as Linux `XATTR_NAME_MAX`).
pub const XATTR_NAME_BYTES_MAX: usize = 255;
/// Value of one extended attribute, in bytes (the same as Linux `XATTR_SIZE_MAX`).
pub const XATTR_VALUE_BYTES_MAX: usize = 64 << 10;
/// One commit, encoded, in bytes.
pub const COMMIT_BYTES_MAX: usize = 256 << 10;
/// Parents of one commit.
pub const COMMIT_PARENTS_MAX: usize = 64;
/// Author of a commit, in bytes of UTF-8.
pub const COMMIT_AUTHOR_BYTES_MAX: usize = 1 << 10;
/// Message of a commit, in bytes of UTF-8.
pub const COMMIT_MESSAGE_BYTES_MAX: usize = 64 << 10;
/// Tagged fields of one commit.
pub const COMMIT_FIELDS_MAX: usize = 64;
/// One tagged field of a commit, in bytes.
pub const COMMIT_FIELD_BYTES_MAX: usize = 64 << 10;
/// Moves of a branch head, other than new commits on top, that are remembered.
pub const BRANCH_JUMPS_MAX: usize = 40;
/// Commits below the floor of a branch's history that it keeps all the same.
pub const BRANCH_KEPT_MAX: usize = 56;
/// Quotas of a store; one batch changes them all.
pub const QUOTAS_MAX: usize = 256;
/// Branches made by one batch.
pub const BRANCHES_AT_ONCE_MAX: u64 = 4096;

const _: () = assert!(CHUNK_BYTES[0] < CHUNK_BYTES[1] && CHUNK_BYTES[1] < CHUNK_BYTES[2]);
const _: () = assert!(CHUNK_BYTES[2] <= EXTENT_BYTES_MAX);
/// Sequences, root ids and totals are below this, so that going on from one on a device cannot overflow.
pub const NUMBERS_MAX: u64 = 1 << 62;
/// Generations of a segment are below this, for the same reason.
pub const GENERATIONS_MAX: u32 = 1 << 31;
/// Smallest and largest segment, in bytes; both powers of two.
pub const SEGMENT_BYTES: [u64; 2] = [4 << 20, 64 << 20];
/// Size of a store whose maker gave none: sparse, so it only takes what it holds.
pub const STORE_BYTES_DEFAULT: u64 = 100 << 30;
/// Smallest store: room for two checkpoints of two copies and a few log segments.
pub const STORE_BYTES_MIN: u64 = 48 << 20;

const _: () = assert!(SEGMENT_BYTES[0] >= 2 * FRAME_BYTES_MAX as u64);
const _: () = assert!(STORE_BYTES_MIN >= 10 * SEGMENT_BYTES[0]);
const _: () = assert!(EXTENT_BYTES_MAX < FRAME_BYTES_MAX && FRAME_BYTES_MAX.is_multiple_of(UNIT_BYTES));
const _: () = assert!(NODE_ENTRIES[0] < NODE_ENTRIES[1] && NODE_ENTRIES[1] < NODE_ENTRIES[2]);
const _: () = assert!(NODE_BYTES_MAX <= EXTENT_BYTES_MAX && XATTRS_BYTES_MAX <= EXTENT_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MAX <= TRANSFER_BYTES_MAX && TRANSFER_BYTES_MAX <= QUEUE_MEMORY_BYTES);
const _: () = assert!(HOLE_BYTES_MIN.is_multiple_of(UNIT_BYTES) && HOLE_BYTES_MIN < EXTENT_BYTES_MAX);

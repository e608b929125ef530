//! A quota: how much the branches with a prefix may use, and what they used when that was last measured.
//!
//! The data of a setting root. What has been stored since is counted by the branches themselves (`branch`), so that
//! commits on different branches write no common record.

use zerocopy::little_endian::U64;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Version of the encoding.
pub const QUOTA_VERSION: u8 = 1;

/// The data of a quota. Little-endian, no padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct QuotaRecord {
    /// [`QUOTA_VERSION`].
    pub version: u8,
    /// Must be zero.
    pub reserved: [u8; 7],
    /// Most that the branches may use.
    pub limit_bytes: U64,
    /// Stored bytes that they reached when they were measured.
    pub measured_bytes: U64,
    /// When: nanoseconds since 1970.
    pub measured_ns: U64,
}

const _: () = assert!(size_of::<QuotaRecord>() == 32);

impl QuotaRecord {
    /// A quota measured at `measured_ns`.
    pub fn new(limit_bytes: u64, measured_bytes: u64, measured_ns: u64) -> QuotaRecord {
        QuotaRecord {
            version: QUOTA_VERSION,
            reserved: [0; 7],
            limit_bytes: limit_bytes.into(),
            measured_bytes: measured_bytes.into(),
            measured_ns: measured_ns.into(),
        }
    }

    /// Checks and reads `bytes`; nothing if they are no quota, or one of a newer version.
    pub fn decode(bytes: &[u8]) -> Option<QuotaRecord> {
        let record = QuotaRecord::read_from_bytes(bytes).ok()?;
        (record.version == QUOTA_VERSION && record.reserved == [0; 7]).then_some(record)
    }
}

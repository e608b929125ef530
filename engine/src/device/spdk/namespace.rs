//! What a namespace is, and whether the engine can store anything in it.
//!
//! Owns the refusals: each says what was found and what to do about it. Reading the facts is in `controller`.

use std::io::{self, ErrorKind};

use crate::device::Geometry;
use crate::limits::{TRANSFER_BYTES_MAX, UNIT_BYTES};

/// Block sizes the engine is made for, in bytes.
const BLOCKS: [u32; 2] = [512, 4096];
/// Blocks of one write-zeroes command at most: its field has 16 bits.
const ZEROES_BLOCKS_MAX: u64 = 1 << 16;
/// Bytes of one write-zeroes command at most, so that a device which really writes them is done in time.
const ZEROES_BYTES_MAX: u64 = 4 << 20;
/// Bytes of one deallocation at most.
const DISCARD_BYTES_MAX: u64 = 1 << 30;

/// A namespace as the controller describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Facts {
    /// Bytes of data in a block.
    pub(super) block: u32,
    /// Bytes of metadata with each block.
    pub(super) metadata: u32,
    /// Kind of end-to-end protection; 0: none.
    pub(super) protection: u32,
    /// Index of the LBA format in use.
    pub(super) format: u8,
    /// Bytes of data in all blocks.
    pub(super) bytes: u64,
    /// Bytes of one transfer at most.
    pub(super) transfer_max: u32,
    /// It can be written only as long as whatever is behind it has space.
    pub(super) thin: bool,
    pub(super) deallocate: bool,
    pub(super) write_zeroes: bool,
    /// The controller has a volatile cache.
    pub(super) volatile_cache: bool,
}

/// A namespace that can be used, and how commands for it are cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Bytes of one block.
    pub(super) block: u64,
    /// Bytes that can be addressed, whole units.
    pub(super) capacity: u64,
    /// Bytes of one read or write at most, whole units.
    pub(super) piece: u64,
    /// Bytes of one write-zeroes command at most, whole units; `None`: zeroes have to be written.
    pub(super) zeroes: Option<u64>,
    /// Bytes of one deallocation at most, whole units; `None`: nothing can be given back.
    pub(super) discard: Option<u64>,
    pub(super) volatile_cache: bool,
    pub(super) thin: bool,
}

impl Facts {
    /// Refuses what the engine cannot use. `name` is for messages.
    pub(super) fn shape(&self, name: &str) -> io::Result<Shape> {
        let refuse = |reason: String| Err(io::Error::new(ErrorKind::Unsupported, format!("{name} {reason}")));
        if self.protection != 0 || self.metadata != 0 {
            let what = if self.protection == 0 {
                format!("has {} bytes of metadata with each block", self.metadata)
            } else {
                format!("has end-to-end protection of type {}", self.protection)
            };
            return refuse(format!(
                "{what} (LBA format {}), which Helios does not use; format it without, which erases it: `nvme format \
                 --lbaf=N --ms=0 --pi=0` with a format N that `nvme id-ns -H` lists with 0 bytes of metadata",
                self.format
            ));
        }
        if !BLOCKS.contains(&self.block) {
            return refuse(format!(
                "has blocks of {} bytes (LBA format {}); Helios needs 512 or 4096; format it, which erases it: `nvme \
                 format --lbaf=N` with a format N that `nvme id-ns -H` lists with one of them",
                self.block, self.format
            ));
        }
        let unit = UNIT_BYTES as u64;
        let capacity = self.bytes / unit * unit;
        if capacity == 0 {
            return refuse(format!(
                "has {} bytes, which is less than one unit of {unit}; give it some capacity (`nvme create-ns`)",
                self.bytes
            ));
        }
        if u64::from(self.transfer_max) < unit {
            return refuse(format!(
                "takes {} bytes in one transfer; Helios needs {unit}",
                self.transfer_max
            ));
        }
        let zeroes = ZEROES_BYTES_MAX.min(ZEROES_BLOCKS_MAX * u64::from(self.block));
        Ok(Shape {
            block: u64::from(self.block),
            capacity,
            piece: u64::from(self.transfer_max) / unit * unit,
            zeroes: self.write_zeroes.then_some(zeroes / unit * unit),
            discard: self.deallocate.then_some(DISCARD_BYTES_MAX),
            volatile_cache: self.volatile_cache,
            thin: self.thin,
        })
    }
}

impl Shape {
    /// As the engine asks for it. Commands are cut here, so that transfers are as long as on any other device.
    pub(super) fn geometry(&self) -> Geometry {
        Geometry {
            capacity: self.capacity,
            logical_block: self.block as u32, // 512 or 4096
            transfer_max: TRANSFER_BYTES_MAX as u32,
            volatile_cache: self.volatile_cache,
            discard: self.discard.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Facts = Facts {
        block: 512,
        metadata: 0,
        protection: 0,
        format: 3,
        bytes: (64 << 20) + 512,
        transfer_max: 131_072 + 512,
        thin: false,
        deallocate: true,
        write_zeroes: true,
        volatile_cache: true,
    };

    /// Goal: limits are whole units and never more than the device takes. Method: a device whose own are not whole.
    #[test]
    fn limits_are_whole_units() {
        let shape = GOOD.shape("namespace 1").expect("usable");
        assert_eq!((shape.capacity, shape.piece), (64 << 20, 131_072));
        assert_eq!((shape.zeroes, shape.discard), (Some(4 << 20), Some(1 << 30)));
        assert_eq!(shape.geometry().logical_block, 512);
        let bare = Facts {
            deallocate: false,
            write_zeroes: false,
            block: 4096,
            ..GOOD
        };
        let shape = bare.shape("namespace 1").expect("usable");
        assert_eq!((shape.zeroes, shape.discard), (None, None));
        assert!(!shape.geometry().discard);
    }

    /// Goal: what cannot be used is refused with the reason and the fix. Method: one fact wrong at a time.
    #[test]
    fn unusable_namespaces_are_refused() {
        let cases = [
            (
                Facts { metadata: 8, ..GOOD },
                "8 bytes of metadata",
                "nvme format",
            ),
            (
                Facts {
                    protection: 1,
                    metadata: 8,
                    ..GOOD
                },
                "protection of type 1",
                "--pi=0",
            ),
            (
                Facts { block: 520, ..GOOD },
                "blocks of 520 bytes (LBA format 3)",
                "nvme format",
            ),
            (Facts { bytes: 4095, ..GOOD }, "4095 bytes", "create-ns"),
            (
                Facts {
                    transfer_max: 2048,
                    ..GOOD
                },
                "2048 bytes in one transfer",
                "needs 4096",
            ),
        ];
        for (facts, what, fix) in cases {
            let error = facts.shape("namespace 7").expect_err(what);
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            let text = error.to_string();
            assert!(
                text.starts_with("namespace 7 has") || text.starts_with("namespace 7 takes"),
                "{text}"
            );
            assert!(text.contains(what) && text.contains(fix), "{text}");
        }
    }
}

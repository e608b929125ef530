//! The ceiling of everything durable: direct writes that the device has taken for good when they return, to a file whose space
//! has been written once.

use std::fs::File;
use std::path::Path;

use rustix::io::{IoSlice, ReadWriteFlags};

use crate::sandbox::{raw_file, time};

/// Bytes that frames are multiples of.
pub const UNIT: usize = 4096;
/// Most units of one write.
pub const UNITS_MAX: usize = 256;

/// Memory aligned for direct I/O.
#[repr(align(4096))]
struct Aligned([u8; UNITS_MAX * UNIT]);

/// See the module.
pub struct Raw {
    file: File,
    block: Box<Aligned>,
    len: usize,
    places: u64,
}

impl Raw {
    /// A file with `places` places of `units` units each, all written.
    pub fn new(path: &Path, units: usize, places: u64) -> Raw {
        let file = raw_file(path);
        let (block, len) = (Box::new(Aligned([7; UNITS_MAX * UNIT])), units * UNIT);
        for at in 0..places {
            rustix::io::pwrite(&file, &block.0[..len], at * len as u64).expect("a first write");
        }
        rustix::fs::fdatasync(&file).expect("a durable file");
        Raw {
            file,
            block,
            len,
            places,
        }
    }

    /// One write, to the places in turn; nanoseconds.
    pub fn write(&self, number: u64) -> u64 {
        let (taken, written) = time(|| {
            let block = [IoSlice::new(&self.block.0[..self.len])];
            let offset = number % self.places * self.len as u64;
            rustix::io::pwritev2(&self.file, &block, offset, ReadWriteFlags::DSYNC)
        });
        assert_eq!(written.expect("a raw write"), self.len);
        taken
    }
}

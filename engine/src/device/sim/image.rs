//! What a device holds, unit by unit; units of zeroes take no memory, copies share the others.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::limits::UNIT_BYTES;

/// Contents of one unit; `None` is zeroes.
pub(super) type Unit = Option<Arc<[u8; UNIT_BYTES]>>;

/// A unit holding these bytes.
pub(super) fn unit_of(bytes: &[u8; UNIT_BYTES]) -> Unit {
    bytes.iter().any(|&byte| byte != 0).then(|| Arc::new(*bytes))
}

/// The bytes of a unit.
pub(super) fn bytes_of(unit: &Unit) -> [u8; UNIT_BYTES] {
    unit.as_deref().copied().unwrap_or([0; UNIT_BYTES])
}

/// The contents of a device at one moment. Equal when every byte is.
#[derive(Clone, PartialEq, Eq)]
pub struct Image {
    capacity: u64,
    units: BTreeMap<u64, Arc<[u8; UNIT_BYTES]>>,
}

impl Image {
    /// Nothing but zeroes.
    pub fn zeroes(capacity: u64) -> Image {
        Image {
            capacity,
            units: BTreeMap::new(),
        }
    }

    /// Bytes that can be addressed.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Numbers of the units that are not all zeroes.
    pub fn units(&self) -> impl Iterator<Item = u64> + '_ {
        self.units.keys().copied()
    }

    /// Bytes at an offset.
    ///
    /// # Panics
    /// Beyond the capacity.
    pub fn peek(&self, offset: u64, len: usize) -> Vec<u8> {
        self.check(offset, len);
        let mut bytes = Vec::with_capacity(len);
        for (unit, start, count, _) in pieces(offset, len) {
            let held = bytes_of(&self.get(unit));
            bytes.extend_from_slice(&held[start..start + count]);
        }
        bytes
    }

    /// Changes bytes at an offset.
    ///
    /// # Panics
    /// Beyond the capacity.
    pub fn poke(&mut self, offset: u64, bytes: &[u8]) {
        self.check(offset, bytes.len());
        for (unit, start, count, done) in pieces(offset, bytes.len()) {
            let mut held = bytes_of(&self.get(unit));
            held[start..start + count].copy_from_slice(&bytes[done..done + count]);
            self.set(unit, unit_of(&held));
        }
    }

    fn check(&self, offset: u64, len: usize) {
        let end = offset.checked_add(len as u64);
        assert!(
            end.is_some_and(|end| end <= self.capacity),
            "{len} bytes at {offset} are beyond the device"
        );
    }

    pub(super) fn get(&self, unit: u64) -> Unit {
        self.units.get(&unit).cloned()
    }

    pub(super) fn set(&mut self, unit: u64, contents: Unit) {
        match contents {
            Some(bytes) => self.units.insert(unit, bytes),
            None => self.units.remove(&unit),
        };
    }
}

/// The pieces of a byte range in each unit: unit, start within it, length, bytes before the piece.
pub(super) fn pieces(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let place = offset + done as u64;
        let start = usize::try_from(place % UNIT_BYTES as u64).expect("below a unit");
        let count = (len - done).min(UNIT_BYTES - start);
        let piece = (place / UNIT_BYTES as u64, start, count, done);
        done += count;
        (count > 0).then_some(piece)
    })
}

impl fmt::Debug for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Image({} bytes, {} units not zero)",
            self.capacity,
            self.units.len()
        )
    }
}

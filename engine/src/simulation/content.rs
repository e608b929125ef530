//! Contents that a number and a length stand for, so that plans and the model stay small.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;

use crate::device::sim::Random;
use crate::format::ContentId;
use crate::hash;

/// Contents a thread keeps at hand.
const KEPT_MAX: usize = 4096;
/// Largest content kept.
const KEPT_BYTES_MAX: u32 = 128 << 10;

/// Numbers of each client's own contents; those of the first begin here.
pub(super) const OWN: usize = 1000;

/// A content; equal numbers and lengths are equal bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Content {
    /// Which one.
    pub number: u32,
    /// Bytes.
    pub len: u32,
}

thread_local! {
    static KEPT: RefCell<HashMap<Content, (Bytes, ContentId)>> = RefCell::default();
}

impl Content {
    /// Its bytes.
    pub fn bytes(self) -> Bytes {
        self.made().0
    }

    /// Its id.
    pub fn id(self) -> ContentId {
        self.made().1
    }

    /// The client it belongs to, if it is not one that all put.
    pub fn owner(self) -> Option<usize> {
        (self.number as usize / OWN).checked_sub(1)
    }

    fn made(self) -> (Bytes, ContentId) {
        KEPT.with_borrow_mut(|kept| {
            if let Some(made) = kept.get(&self) {
                return made.clone();
            }
            let bytes = self.make();
            let made = (bytes.clone(), hash::content_id(&bytes));
            if self.len <= KEPT_BYTES_MAX {
                if kept.len() >= KEPT_MAX {
                    kept.clear();
                }
                kept.insert(self, made.clone());
            }
            made
        })
    }

    fn make(self) -> Bytes {
        let len = self.len as usize;
        let mut random = Random::new(u64::from(self.number) << 32 | u64::from(self.len));
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&random.number().to_le_bytes());
        }
        bytes.truncate(len);
        // Large ones have a hole, now and then.
        if len > 1 << 20 && self.number.is_multiple_of(2) {
            bytes[300_000..700_000].fill(0);
        }
        Bytes::from(bytes)
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}:{}", self.number, self.len)
    }
}

//! What a directory looked like when it was last read: a file whose record still fits need not be read again.
//!
//! A record is trusted when kind, size, mtime, ctime, inode, device, mode and owner are all the same *and* the record
//! is not marked racy. It is racy (git's rule) when the file had changed so shortly before it was looked at that a
//! later change could carry the same time; see [`is_settled`]. The content a trusted record names is still probed in
//! the store before it is used. Known limit, shared with every tool of this kind: a program that writes through a
//! shared memory mapping may get its time stamp up to a page write-back later.
//!
//! The file: a header, the record of the root, then one section per directory in depth-first order, names in byte
//! order. A section is length, number of subdirectories, records; names share prefixes within their section only, so
//! sections of unchanged directories are copied as they are and a large cache changes only where the directory did.
//! A file that does not parse is no cache; nothing else depends on it. It is kept as a content of the store, whose id
//! vouches for the bytes. Rejected: one record per path in a map (ten times slower to load than the merge is).

use std::ops::Range;

use bytes::Bytes;

use super::platform::Stat;
use super::stat_record::{Cursor, Reader, Record, SectionWriter, put_number};
use crate::format::Domain;
use crate::trees::FileTime;

const MAGIC: &[u8; 8] = b"heliosSC";
const VERSION: u8 = 1;

/// Whether a file last changed at `ctime` was stable when it was looked at, at `now` on the coarse clock: any later
/// change gets another time. Local file systems stamp with that same clock, which moves every 1 to 10 ms; twice
/// that is allowed for. Times without a fraction come from file systems that keep seconds (FAT: two of them), and
/// network file systems stamp with another machine's clock: both get seconds.
pub(super) fn is_settled(stat: &Stat, now: FileTime, local: bool) -> bool {
    const LOCAL_SLACK_NS: i128 = 20_000_000;
    const COARSE_SLACK_NS: i128 = 5_000_000_000;
    let ns = |time: FileTime| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanoseconds);
    let slack = match local && stat.ctime.nanoseconds != 0 {
        true => LOCAL_SLACK_NS,
        false => COARSE_SLACK_NS,
    };
    ns(stat.ctime.max(stat.mtime)) + slack < ns(now)
}

/// What of an entry depends on options: node ids of a cache made with other options mean nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) domain: Domain,
    pub(super) times: bool,
    pub(super) owner: bool,
    pub(super) xattrs: bool,
}

impl Form {
    fn bits(self) -> u8 {
        u8::from(self.times) | u8::from(self.owner) << 1 | u8::from(self.xattrs) << 2
    }
}

/// A cache as the store keeps it.
#[derive(Debug)]
pub(super) struct StatCache {
    bytes: Bytes,
    form: Form,
    device: u64,
    root: Record,
    sections: Vec<Section>,
}

#[derive(Debug)]
struct Section {
    /// Records, in `bytes`.
    records: Range<usize>,
    /// Where it starts, its head included.
    start: usize,
    /// First section that is not of this subtree.
    after: usize,
}

impl StatCache {
    /// Reads a cache; `None` when the bytes are not one.
    pub(super) fn decode(bytes: Bytes) -> Option<StatCache> {
        let mut reader = Reader::new(&bytes);
        if reader.take(MAGIC.len())? != MAGIC || reader.byte()? != VERSION {
            return None;
        }
        let bits = reader.byte()?;
        let form = Form {
            domain: Domain(u32::try_from(reader.number()?).ok()?),
            times: bits & 1 != 0,
            owner: bits & 2 != 0,
            xattrs: bits & 4 != 0,
        };
        let device = reader.number()?;
        let mut cursor = Cursor::new(reader.rest(), device, 0);
        let root = cursor.advance()??.clone();
        let mut at = bytes.len() - cursor.rest();
        let mut sections: Vec<Section> = Vec::new();
        let mut open: Vec<(usize, u64)> = Vec::new();
        while at < bytes.len() || sections.is_empty() {
            let mut reader = Reader::new(bytes.get(at..)?);
            let length = usize::try_from(reader.number()?).ok()?;
            let children = reader.number()?;
            let start = bytes.len() - reader.rest().len();
            let end = start.checked_add(length).filter(|&end| end <= bytes.len())?;
            if sections.is_empty() != open.is_empty() {
                return None; // A second root.
            }
            open.push((sections.len(), children));
            sections.push(Section {
                records: start..end,
                start: at,
                after: 0,
            });
            at = end;
            // A section whose subdirectories have all been seen is complete, and so may be the one above it.
            while let Some(&(section, 0)) = open.last() {
                open.pop();
                sections[section].after = sections.len();
                if let Some((_, left)) = open.last_mut() {
                    *left -= 1;
                }
            }
        }
        open.is_empty().then_some(StatCache {
            bytes,
            form,
            device,
            root,
            sections,
        })
    }

    /// What its node ids and attributes depend on.
    pub(super) fn form(&self) -> Form {
        self.form
    }

    /// The record of the root directory; its id is the root node.
    pub(super) fn root(&self) -> &Record {
        &self.root
    }

    /// The records of a directory; section 0 is the root's.
    pub(super) fn records(&self, section: usize) -> Cursor<'_> {
        let records = self.sections.get(section).map_or(0..0, |it| it.records.clone());
        Cursor::new(&self.bytes[records], self.device, section + 1)
    }

    /// The section of the directory after `child` among its siblings.
    pub(super) fn sibling(&self, child: usize) -> usize {
        self.sections
            .get(child)
            .map_or(usize::MAX, |section| section.after)
    }

    /// A section with all sections below it, to be copied.
    pub(super) fn raw_subtree(&self, section: usize) -> &[u8] {
        let Some(first) = self.sections.get(section) else {
            return &[];
        };
        let end = match self.sections.get(first.after) {
            Some(next) => next.start,
            None => self.bytes.len(),
        };
        &self.bytes[first.start..end]
    }

    /// The device that records without a device of their own are on.
    pub(super) fn device(&self) -> u64 {
        self.device
    }
}

/// Writes a cache: the header first, then sections in depth-first order.
pub(super) struct Writer {
    out: Vec<u8>,
    device: u64,
}

impl Writer {
    pub(super) fn new(form: Form, device: u64, root: &Record) -> Writer {
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        out.push(form.bits());
        put_number(&mut out, form.domain.0.into());
        put_number(&mut out, device);
        let mut section = SectionWriter::new(device);
        section.put(b"", root);
        out.extend_from_slice(section.records());
        Writer { out, device }
    }

    /// Copies sections from a cache for the same device.
    pub(super) fn copy(&mut self, sections: &[u8]) {
        self.out.extend_from_slice(sections);
    }

    pub(super) fn section(&self) -> SectionWriter {
        SectionWriter::new(self.device)
    }

    pub(super) fn append(&mut self, section: &SectionWriter) {
        put_number(&mut self.out, section.records().len() as u64);
        put_number(&mut self.out, section.children());
        self.out.extend_from_slice(section.records());
    }

    pub(super) fn finish(self) -> Bytes {
        self.out.into()
    }
}

#[cfg(test)]
#[path = "stat_cache_tests.rs"]
mod tests;

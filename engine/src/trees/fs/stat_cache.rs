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

use super::platform::{FileId, Found, Stat};
use crate::format::{ContentId, Domain};
use crate::trees::{EntryKind, FileTime, Xattr};

const MAGIC: &[u8; 8] = b"heliosSC";
const VERSION: u8 = 1;

const SAME_OWNER: u8 = 1 << 3;
const HAS_XATTRS: u8 = 1 << 4;
const HAS_LINK_GROUP: u8 = 1 << 5;
const OTHER_DEVICE: u8 = 1 << 6;
const RACY: u8 = 1 << 7;

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

/// What is remembered of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) kind: EntryKind,
    pub(super) racy: bool,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) mtime: FileTime,
    pub(super) ctime: FileTime,
    pub(super) file: FileId,
    pub(super) device: (u32, u32),
    pub(super) id: ContentId,
    pub(super) xattrs: Vec<Xattr>,
    pub(super) link_group: Option<u64>,
}

impl Record {
    /// Whether nothing about the file has changed since.
    pub(super) fn fits(&self, stat: &Stat) -> bool {
        !self.racy
            && stat.found == Found::Kind(self.kind)
            && (self.kind == EntryKind::Directory || self.size == stat.size)
            && self.mtime == stat.mtime
            && self.ctime == stat.ctime
            && self.file == stat.id
            && self.mode == stat.mode
            && self.uid == stat.uid
            && self.gid == stat.gid
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
    /// The section with its head, in `bytes`.
    whole: Range<usize>,
    /// First section that is not of this subtree.
    after: usize,
}

impl StatCache {
    /// Reads a cache; `None` when the bytes are not one.
    pub(super) fn decode(bytes: Bytes) -> Option<StatCache> {
        let mut reader = Reader { rest: &bytes };
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
        let mut cursor = Cursor::new(reader.rest, device);
        let root = cursor.advance()??.clone();
        let mut at = bytes.len() - cursor.reader.rest.len();
        let mut sections: Vec<Section> = Vec::new();
        let mut open: Vec<(usize, u64)> = Vec::new();
        while at < bytes.len() || sections.is_empty() {
            let mut reader = Reader {
                rest: bytes.get(at..)?,
            };
            let length = usize::try_from(reader.number()?).ok()?;
            let children = reader.number()?;
            let start = bytes.len() - reader.rest.len();
            let end = start.checked_add(length).filter(|&end| end <= bytes.len())?;
            if sections.is_empty() != open.is_empty() {
                return None; // A second root.
            }
            open.push((sections.len(), children));
            sections.push(Section {
                records: start..end,
                whole: at..end,
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
        let mut cursor = Cursor::new(&self.bytes[records], self.device);
        cursor.child = section + 1;
        cursor
    }

    /// The section of the directory after `child` among its siblings.
    pub(super) fn sibling(&self, child: usize) -> usize {
        self.sections
            .get(child)
            .map_or(usize::MAX, |section| section.after)
    }

    /// A section as it stands in the file, to be copied.
    #[cfg(test)]
    pub(super) fn raw(&self, section: usize) -> &[u8] {
        self.sections
            .get(section)
            .map_or(&[], |it| &self.bytes[it.whole.clone()])
    }

    /// A section with all sections below it, to be copied.
    pub(super) fn raw_subtree(&self, section: usize) -> &[u8] {
        let Some(first) = self.sections.get(section) else {
            return &[];
        };
        let end = match self.sections.get(first.after) {
            Some(next) => next.whole.start,
            None => self.bytes.len(),
        };
        &self.bytes[first.whole.start..end]
    }

    /// The device that records without a device of their own are on.
    pub(super) fn device(&self) -> u64 {
        self.device
    }
}

/// Goes through the records of one section, in the order of their names.
pub(super) struct Cursor<'a> {
    reader: Reader<'a>,
    device: u64,
    name: Vec<u8>,
    record: Record,
    /// Section of the next subdirectory.
    child: usize,
}

impl<'a> Cursor<'a> {
    fn new(bytes: &'a [u8], device: u64) -> Cursor<'a> {
        let zero = FileTime {
            seconds: 0,
            nanoseconds: 0,
        };
        Cursor {
            reader: Reader { rest: bytes },
            device,
            name: Vec::new(),
            record: Record {
                kind: EntryKind::File,
                racy: true,
                mode: 0,
                uid: 0,
                gid: 0,
                size: 0,
                mtime: zero,
                ctime: zero,
                file: FileId::default(),
                device: (0, 0),
                id: ContentId([0; 32]),
                xattrs: Vec::new(),
                link_group: None,
            },
            child: 0,
        }
    }

    /// The name of the present record.
    pub(super) fn name(&self) -> &[u8] {
        &self.name
    }

    /// The present record.
    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// The section of the directory that the present record stands for.
    pub(super) fn child(&self) -> usize {
        self.child
    }

    /// Tells where the subdirectory after the present one has its section.
    pub(super) fn pass_child(&mut self, next: usize) {
        self.child = next;
    }

    /// Goes to the next record: `None` at the end, `Some(None)` when the rest makes no sense.
    pub(super) fn advance(&mut self) -> Option<Option<&Record>> {
        if self.reader.rest.is_empty() {
            return None;
        }
        match self.parse() {
            Some(()) => Some(Some(&self.record)),
            None => {
                self.reader.rest = &[];
                Some(None)
            }
        }
    }

    fn parse(&mut self) -> Option<()> {
        let reader = &mut self.reader;
        let record = &mut self.record;
        let head = reader.byte()?;
        record.kind = kind(head & 7)?;
        record.racy = head & RACY != 0;
        let shared = usize::from(reader.byte()?);
        let length = usize::from(reader.byte()?);
        if shared > self.name.len() {
            return None;
        }
        self.name.truncate(shared);
        self.name.extend_from_slice(reader.take(length)?);
        if head & SAME_OWNER == 0 {
            record.mode = u16::try_from(reader.number()?).ok()?;
            record.uid = u32::try_from(reader.number()?).ok()?;
            record.gid = u32::try_from(reader.number()?).ok()?;
        }
        record.size = reader.number()?;
        record.mtime = reader.time(0)?;
        record.ctime = reader.time(record.mtime.seconds)?;
        record.file.inode = reader.number()?;
        record.file.device = match head & OTHER_DEVICE {
            0 => self.device,
            _ => reader.number()?,
        };
        record.device = match record.kind {
            EntryKind::CharDevice | EntryKind::BlockDevice => (
                u32::try_from(reader.number()?).ok()?,
                u32::try_from(reader.number()?).ok()?,
            ),
            _ => (0, 0),
        };
        record.id = match has_id(record.kind) {
            true => ContentId(reader.take(32)?.try_into().ok()?),
            false => ContentId([0; 32]),
        };
        record.xattrs.clear();
        if head & HAS_XATTRS != 0 {
            for _ in 0..reader.number()? {
                let name = reader.string()?;
                let value = reader.string()?;
                record.xattrs.push(Xattr { name, value });
            }
        }
        record.link_group = match head & HAS_LINK_GROUP {
            0 => None,
            _ => Some(u64::from_le_bytes(reader.take(8)?.try_into().ok()?)),
        };
        Some(())
    }
}

fn kind(number: u8) -> Option<EntryKind> {
    Some(match number {
        1 => EntryKind::File,
        2 => EntryKind::Directory,
        3 => EntryKind::Symlink,
        4 => EntryKind::Fifo,
        5 => EntryKind::CharDevice,
        6 => EntryKind::BlockDevice,
        _ => return None,
    })
}

fn has_id(kind: EntryKind) -> bool {
    matches!(kind, EntryKind::File | EntryKind::Directory | EntryKind::Symlink)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn number(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return None;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn time(&mut self, base: i64) -> Option<FileTime> {
        let number = self.number()?;
        let difference = (number >> 1).cast_signed() ^ -((number & 1).cast_signed());
        let nanoseconds = u32::from_le_bytes(self.take(4)?.try_into().ok()?);
        Some(FileTime {
            seconds: base.wrapping_add(difference),
            nanoseconds,
        })
    }

    fn string(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.number()?).ok()?;
        Some(Bytes::copy_from_slice(self.take(length)?))
    }
}

fn put_number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_time(out: &mut Vec<u8>, time: FileTime, base: i64) {
    let difference = time.seconds.wrapping_sub(base);
    put_number(out, ((difference << 1) ^ (difference >> 63)).cast_unsigned());
    out.extend_from_slice(&time.nanoseconds.to_le_bytes());
}

/// Writes a cache: the header first, then sections in depth-first order.
pub(super) struct Writer {
    out: Vec<u8>,
    device: u64,
}

/// Writes one section.
pub(super) struct SectionWriter {
    records: Vec<u8>,
    device: u64,
    last: Option<(Vec<u8>, u16, u32, u32)>,
    children: u64,
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
        out.extend_from_slice(&section.records);
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
        put_number(&mut self.out, section.records.len() as u64);
        put_number(&mut self.out, section.children);
        self.out.extend_from_slice(&section.records);
    }

    pub(super) fn finish(self) -> Bytes {
        self.out.into()
    }
}

impl SectionWriter {
    fn new(device: u64) -> SectionWriter {
        SectionWriter {
            records: Vec::new(),
            device,
            last: None,
            children: 0,
        }
    }

    /// Adds a record; names must come in byte order.
    pub(super) fn put(&mut self, name: &[u8], record: &Record) {
        let owner = (record.mode, record.uid, record.gid);
        let same_owner = self
            .last
            .as_ref()
            .is_some_and(|last| (last.1, last.2, last.3) == owner);
        let other_device = record.file.device != self.device;
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        let out = &mut self.records;
        out.push(
            record.kind as u8
                | flag(same_owner, SAME_OWNER)
                | flag(!record.xattrs.is_empty(), HAS_XATTRS)
                | flag(record.link_group.is_some(), HAS_LINK_GROUP)
                | flag(other_device, OTHER_DEVICE)
                | flag(record.racy, RACY),
        );
        let before = self.last.as_ref().map_or(&[][..], |last| &last.0);
        let shared = before.iter().zip(name).take_while(|(a, b)| a == b).count();
        debug_assert!(name.len() <= 255, "names have at most 255 bytes");
        out.push(shared as u8);
        out.push((name.len() - shared) as u8);
        out.extend_from_slice(&name[shared..]);
        if !same_owner {
            put_number(out, record.mode.into());
            put_number(out, record.uid.into());
            put_number(out, record.gid.into());
        }
        put_number(out, record.size);
        put_time(out, record.mtime, 0);
        put_time(out, record.ctime, record.mtime.seconds);
        put_number(out, record.file.inode);
        if other_device {
            put_number(out, record.file.device);
        }
        if matches!(record.kind, EntryKind::CharDevice | EntryKind::BlockDevice) {
            put_number(out, record.device.0.into());
            put_number(out, record.device.1.into());
        }
        if has_id(record.kind) {
            out.extend_from_slice(&record.id.0);
        }
        if !record.xattrs.is_empty() {
            put_number(out, record.xattrs.len() as u64);
            for xattr in &record.xattrs {
                for part in [&xattr.name, &xattr.value] {
                    put_number(out, part.len() as u64);
                    out.extend_from_slice(part);
                }
            }
        }
        if let Some(group) = record.link_group {
            out.extend_from_slice(&group.to_le_bytes());
        }
        self.children += u64::from(record.kind == EntryKind::Directory);
        self.last = Some((name.to_vec(), owner.0, owner.1, owner.2));
    }
}

#[cfg(test)]
#[path = "stat_cache_tests.rs"]
mod tests;

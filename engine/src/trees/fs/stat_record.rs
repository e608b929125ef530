//! One record of the stat cache, and the bytes that it is kept in.
//!
//! A byte of kind and flags; the length shared with the name before, the length of the rest, the rest; mode and owner
//! unless they are those before; size, mtime, ctime as a difference to it, inode; then what the flags say. Numbers
//! take seven bits to a byte, low ones first.

use bytes::Bytes;

use super::platform::{FileId, Found, Stat};
use crate::format::ContentId;
use crate::trees::{EntryKind, FileTime, Xattr};

const SAME_OWNER: u8 = 1 << 3;
const HAS_XATTRS: u8 = 1 << 4;
const HAS_LINK_GROUP: u8 = 1 << 5;
const OTHER_DEVICE: u8 = 1 << 6;
const RACY: u8 = 1 << 7;

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
    pub(super) fn new(bytes: &'a [u8], device: u64, child: usize) -> Cursor<'a> {
        let zero = FileTime {
            seconds: 0,
            nanoseconds: 0,
        };
        Cursor {
            reader: Reader::new(bytes),
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
            child,
        }
    }

    /// Bytes not gone through yet.
    pub(super) fn rest(&self) -> usize {
        self.reader.rest.len()
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
        record.kind = EntryKind::from_byte(head & 7)?;
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

pub(super) fn has_id(kind: EntryKind) -> bool {
    matches!(kind, EntryKind::File | EntryKind::Directory | EntryKind::Symlink)
}

/// Takes numbers, times and strings off the front of bytes; `None` when they are not there.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Reader<'a> {
        Reader { rest }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    pub(super) fn number(&mut self) -> Option<u64> {
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

pub(super) fn put_number(out: &mut Vec<u8>, mut value: u64) {
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

/// Writes one section.
pub(super) struct SectionWriter {
    records: Vec<u8>,
    device: u64,
    last: Option<(Vec<u8>, u16, u32, u32)>,
    children: u64,
}

impl SectionWriter {
    pub(super) fn new(device: u64) -> SectionWriter {
        SectionWriter {
            records: Vec::new(),
            device,
            last: None,
            children: 0,
        }
    }

    pub(super) fn records(&self) -> &[u8] {
        &self.records
    }

    /// Subdirectories among the records.
    pub(super) fn children(&self) -> u64 {
        self.children
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

//! Large contents: from an open file into the store piece by piece, and back, holes included.
//!
//! Where a content has holes is a property of its bytes (see `objects`), so a file without holes that is full of zeros
//! comes back with holes; contents small enough for one extent are treated alike by [`write_small`].

use std::io;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;

use super::control::{Control, Counter};
use super::platform;
use super::read::Sink;
use crate::error::{Error, Result};
use crate::format::ContentId;
use crate::hash::Hasher;
use crate::limits::{HOLE_BYTES_MIN, UNIT_BYTES};
use crate::objects::{Durability, Objects, PutOptions, PutStream, Section};

/// Bytes read at once.
const PIECE_BYTES: usize = 1 << 20;

/// Where the pieces of a content go.
enum Target<'a> {
    Store(&'a Objects, Box<PutStream>),
    Hash(Box<Hasher>),
}

impl Target<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Target::Store(objects, stream) => objects.store().block_on(stream.write(bytes)),
            Target::Hash(hasher) => {
                hasher.update(bytes);
                Ok(())
            }
        }
    }

    fn write_hole(&mut self, length: u64) -> Result<()> {
        match self {
            Target::Store(objects, stream) => objects.store().block_on(stream.write_hole(length)),
            Target::Hash(hasher) => {
                hasher.update_zeroes(length);
                Ok(())
            }
        }
    }
}

/// Reads a file that should have `size` bytes: the id of its content, and how long that was. With a batch the content
/// is in the store and held by the batch afterwards.
pub(super) fn read(
    file: BorrowedFd<'_>,
    size: u64,
    sink: &Sink<'_>,
    control: &Control,
    counter: &Counter<'_>,
) -> Result<(ContentId, u64)> {
    let mut target = match sink {
        Sink::Batch { objects, .. } => {
            let options = PutOptions {
                durability: Durability::Visible,
                pin: false,
            };
            Target::Store(objects, Box::new(objects.put_stream(options)))
        }
        Sink::Ids => Target::Hash(Box::default()),
    };
    let length = pump(file, size, &mut target, control, counter)?;
    let id = match target {
        Target::Hash(hasher) => hasher.finish(),
        Target::Store(objects, stream) => {
            let put = objects.store().block_on(stream.finish())?;
            if let Sink::Batch { batch, .. } = sink {
                // Held while its own lease still is; the batch also notes what it depends on.
                batch.lock().hold(&[objects.key(put.id, put.length)])?;
            }
            put.id
        }
    };
    Ok((id, length))
}

fn pump(
    file: BorrowedFd<'_>,
    size: u64,
    target: &mut Target<'_>,
    control: &Control,
    counter: &Counter<'_>,
) -> Result<u64> {
    let problem = |error: io::Error| Error::path("read", PathBuf::new(), error);
    let mut buffer = vec![0; PIECE_BYTES];
    let mut at = 0;
    loop {
        control.check()?;
        let Some((start, end)) = platform::next_data(file, at).map_err(problem)? else {
            let hole = size.saturating_sub(at);
            target.write_hole(hole)?;
            counter.add(0, hole);
            return Ok(at + hole);
        };
        if start > at {
            target.write_hole(start - at)?;
            counter.add(0, start - at);
        }
        at = start;
        platform::seek(file, at).map_err(problem)?;
        while at < end {
            control.check()?;
            let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(PIECE_BYTES);
            let got = platform::read_full(file, &mut buffer[..want]).map_err(problem)?;
            target.write(&buffer[..got])?;
            counter.add(0, got as u64);
            at += got as u64;
            if got < want || at > size {
                return Ok(at); // Shorter or longer than it was: the caller finds out.
            }
        }
    }
}

/// Why a content could not be written.
pub(super) enum Problem {
    /// The file system's.
    File(io::Error),
    /// The store's, or cancelled.
    Other(Error),
}

/// Writes a large content into a new, empty file.
pub(super) fn write(
    objects: &Objects,
    id: ContentId,
    size: u64,
    file: BorrowedFd<'_>,
    control: &Control,
    counter: &Counter<'_>,
) -> Result<(), Problem> {
    let mut stream = objects
        .store()
        .block_on(objects.get_stream(id))
        .map_err(Problem::Other)?;
    if stream.length() != size {
        let reason = format!("has {} bytes where the tree says {size}", stream.length());
        return Err(Problem::Other(Error::invalid(format!("content {id}"), reason)));
    }
    let mut at = 0;
    let mut ends_in_hole = false;
    while let Some(section) = objects.store().block_on(stream.next()).map_err(Problem::Other)? {
        control.check().map_err(Problem::Other)?;
        ends_in_hole = matches!(section, Section::Hole(_));
        if let Section::Data(bytes) = &section {
            platform::write_at(file, bytes, at).map_err(Problem::File)?;
        }
        at += section.length();
        counter.add(0, section.length());
    }
    if ends_in_hole {
        platform::set_length(file, size).map_err(Problem::File)?;
    }
    Ok(())
}

/// Writes a content that is in memory into a new, empty file, leaving out what would be a hole of a large one.
pub(super) fn write_small(file: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    if bytes.len() < HOLE_BYTES_MIN {
        return platform::write_at(file, bytes, 0);
    }
    let zero = |unit: &[u8]| unit.iter().all(|&byte| byte == 0);
    let (mut written, mut at) = (0, 0);
    let mut hole: Option<usize> = None;
    while at < bytes.len() {
        let end = (at + UNIT_BYTES).min(bytes.len());
        if zero(&bytes[at..end]) {
            hole.get_or_insert(at);
        } else if let Some(start) = hole.take()
            && at - start >= HOLE_BYTES_MIN
        {
            platform::write_at(file, &bytes[written..start], written as u64)?;
            written = at;
        }
        at = end;
    }
    match hole {
        Some(start) if bytes.len() - start >= HOLE_BYTES_MIN => {
            platform::write_at(file, &bytes[written..start], written as u64)?;
            platform::set_length(file, bytes.len() as u64)
        }
        _ => platform::write_at(file, &bytes[written..], written as u64),
    }
}

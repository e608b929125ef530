//! The content store for threads: every call waits on the calling thread.
//!
//! A wrapper of its own rather than a second name for each method: calls read the same in both worlds, and a
//! future cannot be forgotten by mistake.

use std::borrow::Borrow;
use std::io::{self, Read, Write};
use std::ops::Range;

use bytes::{Buf, Bytes};

use super::get_stream::write_section;
use super::put_from::read_full;
use super::{Durability, GetStream, Objects, Put, PutOptions, PutStream, Section};
use crate::error::Result;
use crate::format::ContentId;

/// [`Objects`] whose calls wait. Look-ups that never wait are on [`Objects`] itself, by dereference.
#[derive(Clone)]
pub struct Blocking(Objects);

impl std::ops::Deref for Blocking {
    type Target = Objects;

    fn deref(&self) -> &Objects {
        &self.0
    }
}

impl Objects {
    /// The same contents with calls that wait.
    pub fn blocking(&self) -> Blocking {
        Blocking(self.clone())
    }
}

impl Blocking {
    pub(super) fn objects(&self) -> &Objects {
        &self.0
    }

    pub(super) fn wait<F: Future>(&self, future: F) -> F::Output {
        self.0.store.block_on(future)
    }

    /// See [`Objects::put`].
    pub fn put(&self, content: impl Into<Bytes>) -> Result<Put> {
        self.wait(self.0.put(content))
    }

    /// See [`Objects::put_with`].
    pub fn put_with(&self, content: impl Into<Bytes>, options: PutOptions) -> Result<Put> {
        self.wait(self.0.put_with(content, options))
    }

    /// See [`Objects::put_batch`].
    pub fn put_batch<B: Borrow<Bytes>>(&self, contents: &[B], options: PutOptions) -> Result<Vec<Put>> {
        self.wait(self.0.put_batch(contents, options))
    }

    /// Puts everything `reader` gives, in bounded memory. With more than one thread (see
    /// [`Objects::with_threads`]) the next window is read while one is cut, hashed and put.
    pub fn put_reader(&self, mut reader: impl Read, options: PutOptions) -> Result<Put> {
        self.put_from(options, |space| read_full(&mut reader, space))
    }

    /// See [`Objects::put_stream`].
    pub fn put_stream(&self, options: PutOptions) -> ContentWriter {
        ContentWriter {
            objects: self.clone(),
            stream: self.0.put_stream(options),
        }
    }

    /// See [`Objects::get`].
    pub fn get(&self, id: ContentId) -> Result<Bytes> {
        self.wait(self.0.get(id))
    }

    /// See [`Objects::get_batch`].
    pub fn get_batch(&self, ids: &[ContentId]) -> Vec<Result<Bytes>> {
        self.wait(self.0.get_batch(ids))
    }

    /// See [`Objects::get_range`].
    pub fn get_range(&self, id: ContentId, range: Range<u64>) -> Result<Bytes> {
        self.wait(self.0.get_range(id, range))
    }

    /// See [`Objects::length`].
    pub fn length(&self, id: ContentId) -> Result<u64> {
        self.wait(self.0.length(id))
    }

    /// See [`Objects::get_stream`].
    pub fn get_stream(&self, id: ContentId) -> Result<ContentReader> {
        let stream = self.wait(self.0.get_stream(id))?;
        Ok(ContentReader {
            objects: self.clone(),
            stream,
            section: Section::Hole(0),
        })
    }

    /// See [`Objects::get_stream_range`].
    pub fn get_stream_range(&self, id: ContentId, range: Range<u64>) -> Result<ContentReader> {
        let stream = self.wait(self.0.get_stream_range(id, range))?;
        Ok(ContentReader {
            objects: self.clone(),
            stream,
            section: Section::Hole(0),
        })
    }

    /// See [`Objects::pin`].
    pub fn pin(&self, id: ContentId, durability: Durability) -> Result<u64> {
        self.wait(self.0.pin(id, durability))
    }

    /// See [`Objects::unpin`].
    pub fn unpin(&self, id: ContentId, durability: Durability) -> Result<u64> {
        self.wait(self.0.unpin(id, durability))
    }
}

/// A [`PutStream`] that is written like a file.
pub struct ContentWriter {
    objects: Blocking,
    stream: PutStream,
}

impl ContentWriter {
    /// See [`PutStream::write_hole`].
    pub fn write_hole(&mut self, length: u64) -> Result<()> {
        self.objects.wait(self.stream.write_hole(length))
    }

    /// See [`PutStream::finish`]. Dropping the writer instead stores nothing.
    pub fn finish(self) -> Result<Put> {
        self.objects.wait(self.stream.finish())
    }
}

impl Write for ContentWriter {
    /// Takes all of `bytes`; an engine error is inside the `io::Error`.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.objects
            .wait(self.stream.write(bytes))
            .map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    /// Does nothing: nothing is visible before [`finish`](ContentWriter::finish).
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A [`GetStream`] that is read like a file, or section by section.
pub struct ContentReader {
    objects: Blocking,
    stream: GetStream,
    /// What `read` has not given out yet.
    section: Section,
}

impl ContentReader {
    /// Bytes of the whole stream.
    pub fn length(&self) -> u64 {
        self.stream.length()
    }

    /// See [`GetStream::next`]: keeps holes apart from data.
    pub fn next_section(&mut self) -> Result<Option<Section>> {
        match std::mem::replace(&mut self.section, Section::Hole(0)) {
            rest if rest.length() > 0 => Ok(Some(rest)),
            _ => self.objects.wait(self.stream.next()),
        }
    }

    /// Writes what has not been read yet to `out`, holes as zeros, and returns how many bytes that were.
    pub fn copy_to(&mut self, out: &mut (impl Write + ?Sized)) -> Result<u64> {
        let rest = std::mem::replace(&mut self.section, Section::Hole(0));
        write_section(&rest, out)?;
        Ok(rest.length() + self.objects.wait(self.stream.copy_to(out))?)
    }
}

impl Read for ContentReader {
    /// Holes read as zeros; an engine error is inside the `io::Error`.
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        if self.section.length() == 0 {
            match self.next_section().map_err(io::Error::other)? {
                Some(section) => self.section = section,
                None => return Ok(0),
            }
        }
        let step = usize::try_from(self.section.length())
            .unwrap_or(usize::MAX)
            .min(out.len());
        match &mut self.section {
            Section::Data(bytes) => bytes.copy_to_slice(&mut out[..step]),
            Section::Hole(length) => {
                out[..step].fill(0);
                *length -= step as u64;
            }
        }
        Ok(step)
    }
}

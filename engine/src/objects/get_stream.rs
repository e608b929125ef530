//! A content comes out piece by piece, in bounded memory, with the next pieces on their way.
//!
//! While the caller has one window of sections, the reads of the next are in flight.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::ops::Range;

use bytes::Bytes;

use super::Objects;
pub use super::walk::Section;
use super::walk::{FETCH_BYTES_MAX, Walk};
use crate::error::{Error, Result};
use crate::format::manifest::Manifest;
use crate::format::{ContentId, Kind};
use crate::hash::Hasher;
use crate::reactor::Started;

/// A window on its way, and the walk that goes on behind it.
type Fetch = Started<(Walk, Result<Vec<Section>>)>;

/// Reads one content, or a range of it. After an error, and after the end, there is nothing more.
pub struct GetStream {
    ready: VecDeque<Section>,
    fetch: Option<Fetch>,
    /// For a whole content: what has been read so far, and what it should hash to.
    verify: Option<(Hasher, ContentId)>,
    length: u64,
}

impl GetStream {
    /// Bytes that the store has verified already.
    pub(super) fn whole(bytes: Bytes) -> Self {
        let length = bytes.len() as u64;
        let ready = if bytes.is_empty() {
            VecDeque::new()
        } else {
            VecDeque::from([Section::Data(bytes)])
        };
        GetStream {
            ready,
            fetch: None,
            verify: None,
            length,
        }
    }

    pub(super) fn listed(objects: &Objects, id: ContentId, manifest: Manifest, range: Range<u64>) -> Self {
        let verify = (range == (0..manifest.length())).then(|| (Hasher::new(), id));
        let length = range.end - range.start;
        let fetch = Some(fetch(Walk::new(objects.clone(), id, manifest, range)));
        GetStream {
            ready: VecDeque::new(),
            fetch,
            verify,
            length,
        }
    }

    /// Bytes of the whole stream, read and unread.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes of the content kept in memory now, or asked for; never more than 5 MiB.
    pub fn buffered(&self) -> usize {
        let data = |section: &Section| match section {
            Section::Data(bytes) => bytes.len(),
            Section::Hole(_) => 0,
        };
        let asked = if self.fetch.is_some() { FETCH_BYTES_MAX } else { 0 };
        self.ready.iter().map(data).sum::<usize>() + asked
    }

    /// The next bytes or hole; none at the end. For a whole content the end is the verdict on all of it: only a
    /// caller who has seen `None` has the content.
    pub async fn next(&mut self) -> Result<Option<Section>> {
        while self.ready.is_empty() {
            let Some(next) = self.fetch.take() else {
                return self.verdict().map(|()| None);
            };
            let (walk, sections) = next.await;
            let sections = sections.inspect_err(|_| self.verify = None)?;
            self.fetch = (!sections.is_empty()).then(|| fetch(walk));
            self.ready.extend(sections);
        }
        let section = self.ready.pop_front();
        if let (Some((hasher, _)), Some(section)) = (&mut self.verify, &section) {
            match section {
                Section::Data(bytes) => hasher.update(bytes),
                Section::Hole(length) => hasher.update_zeroes(*length),
            };
        }
        Ok(section)
    }

    /// Writes the rest to `out`, holes as zeros, and returns how many bytes that were.
    pub async fn copy_to(&mut self, out: &mut (impl Write + ?Sized)) -> Result<u64> {
        let mut written = 0;
        while let Some(section) = self.next().await? {
            write_section(&section, out)?;
            written += section.length();
        }
        Ok(written)
    }

    fn verdict(&mut self) -> Result<()> {
        match self.verify.take() {
            Some((hasher, id)) if hasher.finish() != id => Err(Error::Inconsistent {
                id,
                kind: Kind::Manifest,
                damage: format!("what it lists hashes to {}", hasher.finish()),
            }),
            _ => Ok(()),
        }
    }
}

fn fetch(mut walk: Walk) -> Fetch {
    Started::new(async move {
        let sections = walk.fetch().await;
        (walk, sections)
    })
}

/// Writes a section, a hole as zeros.
pub(super) fn write_section(section: &Section, out: &mut (impl Write + ?Sized)) -> Result<()> {
    let written = match section {
        Section::Data(bytes) => out.write_all(bytes),
        Section::Hole(length) => io::copy(&mut io::repeat(0).take(*length), out).map(|_| ()),
    };
    written.map_err(|source| Error::Stream {
        operation: "writing the content",
        source,
    })
}

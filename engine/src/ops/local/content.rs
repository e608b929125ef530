//! `put`, `get`, `cat`, `exists`, `pin`, `unpin`.

use std::io::{self, Read};

use super::open::Engine;
use crate::error::{Error, Result};
use crate::format::ContentId;
use crate::objects::{self, Section, read_full};
use crate::ops::{
    CatRequest, Content, ContentRequest, Durability, Exchange, Found, GetRequest, PinCount, Pinned, Presence,
    PutRequest, Stage, Step,
};
use crate::trees::EntryKind;

/// Bytes moved between looks at the cancellation flag.
const PIECE_BYTES: usize = 1 << 20;

impl Engine {
    pub fn put(&self, request: PutRequest, exchange: &mut dyn Exchange) -> Result<Content> {
        let options = objects::PutOptions {
            durability: class(request.durability),
            pin: request.pin,
        };
        let mut moved = Moved::new(exchange, None);
        let put = self.objects.blocking().put_from(options, |space| {
            let mut filled = 0;
            for piece in space.chunks_mut(PIECE_BYTES) {
                let read = read_full(&mut Input(exchange), piece)?;
                moved.add(exchange, read as u64)?;
                filled += read;
                if read < piece.len() {
                    break;
                }
            }
            Ok(filled)
        })?;
        Ok(Content {
            id: put.id,
            size: put.length,
            bytes: moved.bytes,
            new: put.new,
        })
    }

    pub fn get(&self, request: GetRequest, exchange: &mut dyn Exchange) -> Result<Content> {
        let size = self.objects.blocking().length(request.id)?;
        let start = request.offset.min(size);
        let end = request
            .length
            .map_or(size, |length| start.saturating_add(length).min(size));
        self.copy(request.id, size, start..end, exchange)
    }

    pub fn cat(&self, request: &CatRequest, exchange: &mut dyn Exchange) -> Result<Content> {
        let resolved = self.resolve(&request.revision)?;
        let entry = self.entry(&resolved)?;
        if entry.kind != EntryKind::File {
            return Err(Error::invalid(
                format!("`{}`", request.revision),
                match entry.kind {
                    EntryKind::Directory => "it is a directory; `helios ls` lists it",
                    EntryKind::Symlink => "it is a symbolic link; `helios ls -l` shows where it points",
                    _ => "it has no content",
                },
            ));
        }
        self.copy(entry.id, entry.size, 0..entry.size, exchange)
    }

    fn copy(
        &self,
        id: ContentId,
        size: u64,
        range: std::ops::Range<u64>,
        exchange: &mut dyn Exchange,
    ) -> Result<Content> {
        let mut moved = Moved::new(exchange, Some(range.end - range.start));
        let whole = range == (0..size);
        let reading = self.objects.blocking();
        let mut content = if whole {
            reading.get_stream(id)?
        } else {
            reading.get_stream_range(id, range)?
        };
        while let Some(section) = content.next_section()? {
            match section {
                Section::Data(bytes) => {
                    for piece in bytes.chunks(PIECE_BYTES) {
                        exchange.output(piece).map_err(writing)?;
                        moved.add(exchange, piece.len() as u64)?;
                    }
                }
                Section::Hole(length) => {
                    static ZEROES: [u8; 64 << 10] = [0; 64 << 10];
                    let mut left = length;
                    while left > 0 {
                        let some = usize::try_from(left).unwrap_or(usize::MAX).min(ZEROES.len());
                        exchange.output(&ZEROES[..some]).map_err(writing)?;
                        moved.add(exchange, some as u64)?;
                        left -= some as u64;
                    }
                }
            }
        }
        Ok(Content {
            id,
            size,
            bytes: moved.bytes,
            new: false,
        })
    }

    pub fn exists(&self, request: &ContentRequest) -> Result<Found> {
        let found = self.objects.exist(&request.ids)?;
        let contents = request
            .ids
            .iter()
            .zip(found)
            .map(|(id, exists)| Presence { id: *id, exists });
        Ok(Found {
            contents: contents.collect(),
        })
    }

    pub fn pin(&self, request: &ContentRequest) -> Result<Pinned> {
        self.change_pins(request, |id| {
            self.objects.blocking().pin(id, objects::Durability::Durable)
        })
    }

    pub fn unpin(&self, request: &ContentRequest) -> Result<Pinned> {
        self.change_pins(request, |id| {
            self.objects.blocking().unpin(id, objects::Durability::Durable)
        })
    }

    /// One after the other: a failure leaves the changes before it, and the reply of a success names all.
    fn change_pins(
        &self,
        request: &ContentRequest,
        change: impl Fn(ContentId) -> Result<u64>,
    ) -> Result<Pinned> {
        let changed = request
            .ids
            .iter()
            .map(|id| change(*id).map(|pins| PinCount { id: *id, pins }));
        Ok(Pinned {
            contents: changed.collect::<Result<_>>()?,
        })
    }
}

/// When a put returns.
fn class(durability: Durability) -> objects::Durability {
    match durability {
        Durability::Visible => objects::Durability::Visible,
        Durability::Durable => objects::Durability::Durable,
    }
}

/// What is put, as a reader.
struct Input<'a>(&'a mut dyn Exchange);

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.input(buffer)
    }
}

fn writing(source: io::Error) -> Error {
    Error::Stream {
        operation: "writing the content",
        source,
    }
}

/// Counts the bytes of one content on their way, and stops them when asked.
struct Moved {
    bytes: u64,
    total: Option<u64>,
    reporter: crate::ops::Reporter,
}

impl Moved {
    fn new(exchange: &dyn Exchange, total: Option<u64>) -> Moved {
        Moved {
            bytes: 0,
            total,
            reporter: exchange.reporter(),
        }
    }

    fn add(&mut self, exchange: &dyn Exchange, bytes: u64) -> Result<()> {
        self.bytes += bytes;
        (self.reporter)(Step {
            bytes: self.bytes,
            bytes_total: self.total,
            ..Step::begin(Stage::Copying)
        });
        if exchange.cancel().is_cancelled() {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }
}

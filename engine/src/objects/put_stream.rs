//! A content that arrives in pieces goes in, in bounded memory.
//!
//! Up to a window of bytes is kept. When it is full, what can be cut goes to the batch ([`Ingest`]). After some
//! thousand chunks a new batch begins that holds only what no stored part of the manifest lists: so the lease of a
//! content of any size stays small. Nothing names the content before [`finish`](PutStream::finish); a stream
//! that is dropped leaves chunks that collection removes.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::ingest::{Ingest, check_length};
use super::{Objects, Offered, Put, PutOptions};
use crate::access::Batch;
use crate::error::{Error, Result};
use crate::limits::{CHUNK_BYTES, EXTENT_BYTES_MAX, HOLE_BYTES_MIN, UNIT_BYTES};
use crate::store::Key;

/// Bytes gathered before they are cut.
pub(super) const WINDOW_BYTES: usize = 4 << 20;
/// What cutting a window leaves over is shorter: neither the longest chunk, nor a run of zeros that is a hole, nor a block.
pub(super) const LEFT_OVER_MAX: usize = CHUNK_BYTES[2] + HOLE_BYTES_MIN + UNIT_BYTES;
/// References a batch gathers before a new one takes over what is still needed.
const FRESH_MAX: u64 = 16 << 10;

const _: () = assert!(WINDOW_BYTES > EXTENT_BYTES_MAX);

/// A content being put. After an error the content is not stored and every call fails.
pub struct PutStream {
    objects: Objects,
    options: PutOptions,
    batch: Option<Batch>,
    ingest: Option<Ingest>,
    window: Vec<u8>,
    length: u64,
    /// Extents put since the present batch began.
    fresh: u64,
}

impl PutStream {
    pub(super) fn new(objects: Objects, options: PutOptions) -> Self {
        let batch = Some(objects.batch());
        PutStream {
            objects,
            options,
            batch,
            ingest: None,
            window: Vec::new(),
            length: 0,
            fresh: 0,
        }
    }

    /// Adds the next bytes.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.grow(bytes.len() as u64)?;
        while !bytes.is_empty() {
            if self.ingest.is_some() {
                self.window.reserve_exact(WINDOW_BYTES - self.window.len());
            }
            let (now, later) = bytes.split_at(bytes.len().min(WINDOW_BYTES - self.window.len()));
            self.window.extend_from_slice(now);
            bytes = later;
            if self.window.len() == WINDOW_BYTES {
                self.absorb_window(false).await?;
            }
        }
        Ok(())
    }

    /// Adds the bytes of `window` from [`LEFT_OVER_MAX`] on, a full window of them, without copying them: what is left over
    /// of the bytes before goes before them. Returns the memory, of which slices may still be on their way.
    pub(super) async fn write_window(&mut self, mut window: BytesMut) -> Result<Bytes> {
        self.grow((window.len() - LEFT_OVER_MAX) as u64)?;
        let start = LEFT_OVER_MAX
            .checked_sub(self.window.len())
            .expect("a stream that is written by windows has cut what came before");
        window[start..LEFT_OVER_MAX].copy_from_slice(&self.window);
        self.window.clear();
        let window = window.freeze();
        self.absorb(window.slice(start..), false).await?;
        Ok(window)
    }

    /// Adds `length` zero bytes that the caller knows without reading them, like a hole of a sparse file. The
    /// result is the same as writing them.
    pub async fn write_hole(&mut self, length: u64) -> Result<()> {
        static ZEROS: [u8; HOLE_BYTES_MIN + UNIT_BYTES] = [0; HOLE_BYTES_MIN + UNIT_BYTES];
        let total = self.length.saturating_add(length);
        let mut rest = length;
        // As many real zeros as make any position the inside of a hole.
        let real = usize::try_from(rest).unwrap_or(usize::MAX).min(ZEROS.len());
        self.write(&ZEROS[..real]).await?;
        rest -= real as u64;
        if rest > 0 && total > EXTENT_BYTES_MAX as u64 {
            self.grow(rest)?;
            self.absorb_window(false).await?;
            // What is left in the window are the zeros of a block that is not complete.
            let zeros = self.window.len() as u64 + rest;
            let blocks = zeros / UNIT_BYTES as u64 * UNIT_BYTES as u64;
            let ingest = self.ingest.as_mut().expect("absorbing starts it");
            assert!(
                self.window.len() < UNIT_BYTES && ingest.lengthen_hole(blocks),
                "inside a hole"
            );
            self.window.clear();
            self.window
                .resize(usize::try_from(zeros - blocks).expect("less than a block"), 0);
            return Ok(());
        }
        while rest > 0 {
            let real = usize::try_from(rest).unwrap_or(usize::MAX).min(ZEROS.len());
            self.write(&ZEROS[..real]).await?;
            rest -= real as u64;
        }
        Ok(())
    }

    /// Bytes added so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes of the content kept in memory now; never more than 9 MiB.
    pub fn buffered(&self) -> usize {
        self.window.capacity() + self.ingest.as_ref().map_or(0, Ingest::buffered)
    }

    /// Ends the content; it is in the store when this returns.
    pub async fn finish(mut self) -> Result<Put> {
        let offered = if self.length <= EXTENT_BYTES_MAX as u64 {
            let content = Bytes::from(std::mem::take(&mut self.window));
            self.objects
                .offer(self.batch.as_mut().ok_or_else(broken)?, &[content])
                .await?
        } else {
            self.absorb_window(true).await?;
            let ingest = self.ingest.take().ok_or_else(broken)?;
            vec![ingest.finish(self.batch.as_mut().ok_or_else(broken)?).await?]
        };
        let batch = self.batch.take().ok_or_else(broken)?;
        let ack = self.objects.submit(batch, &offered, self.options).await?;
        let Offered { id, length, new } = offered[0];
        let ack = Arc::new(ack);
        Ok(Put { id, length, new, ack })
    }

    fn grow(&mut self, bytes: u64) -> Result<()> {
        if self.batch.is_none() {
            return Err(broken());
        }
        let grown = check_length(self.length.checked_add(bytes));
        if grown.is_err() {
            self.batch = None;
        }
        self.length = grown?;
        Ok(())
    }

    async fn absorb_window(&mut self, end: bool) -> Result<()> {
        let window = Bytes::from(std::mem::take(&mut self.window));
        self.absorb(window, end).await
    }

    /// Passes on what can be cut; the rest stays in the stream's own window, which is empty before. On an error (or if the
    /// future is dropped halfway) the stream stays broken.
    async fn absorb(&mut self, window: Bytes, end: bool) -> Result<()> {
        let mut batch = self.batch.take().ok_or_else(broken)?;
        let ingest = self.ingest.get_or_insert_with(|| Ingest::new(&self.objects));
        let before = batch.counts().offered;
        let taken = ingest.absorb(&mut batch, &window, end).await?;
        self.fresh += batch.counts().offered - before;
        self.window.extend_from_slice(&window[taken..]);
        if self.fresh > FRESH_MAX {
            batch = self.objects.succeed(batch, &ingest.unlisted()).await?;
            self.fresh = 0;
        }
        self.batch = Some(batch);
        Ok(())
    }
}

impl Objects {
    /// Submits `batch` and returns a new one that holds `keys`, which may be of the old one.
    async fn succeed(&self, batch: Batch, keys: &[Key]) -> Result<Batch> {
        // Visible first, so that the new batch depends on what it holds; only then the old lease goes.
        let ack = batch.submit().await?;
        let mut batch = self.batch();
        let found = batch.hold(keys)?;
        drop(ack);
        match keys.iter().zip(found).find(|(_, found)| !found) {
            Some((key, _)) => Err(Error::not_found(format!("{} {}", key.kind, key.id))),
            None => Ok(batch),
        }
    }
}

fn broken() -> Error {
    Error::invalid("stream", "an earlier call failed; start the content anew")
}

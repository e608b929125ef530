//! A content that a thread has to fetch, like one that is read from a file: while a window of it is cut, hashed and put, the
//! next one is filled.
//!
//! Owns the windows. Each is filled behind room for what the one before leaves over, so that no byte of it is copied again
//! before the frame it is written with; and its memory is filled again when nobody has a slice of it any more.
//! Rejected: fetching on the other thread and putting on the caller's (not every source may leave its thread); hashing the
//! whole content on the caller's thread, beside the chunks (measured on two cores: no faster, neither on a disk, which is
//! what one waits for, nor in memory).

use std::collections::VecDeque;
use std::io::{self, Read};

use bytes::{Bytes, BytesMut};
use crossbeam::channel;

use super::blocking::Blocking;
use super::put_stream::{LEFT_OVER_MAX, WINDOW_BYTES};
use super::{Put, PutOptions, PutStream};
use crate::error::{Error, Result};
use crate::limits::EXTENT_BYTES_MAX;

const MEMORY_BYTES: usize = LEFT_OVER_MAX + WINDOW_BYTES;
/// Windows whose memory is kept to be used again, whether it is needed or not: a source may be slow for hours.
const WINDOWS_KEPT: usize = 3;

const _: () = assert!(
    EXTENT_BYTES_MAX < WINDOW_BYTES,
    "contents of full windows are listed"
);

impl Blocking {
    /// Puts everything that `fill` gives: it fills what it is given, and less than that only with the end of the content.
    pub(crate) fn put_from(
        &self,
        options: PutOptions,
        mut fill: impl FnMut(&mut [u8]) -> Result<usize>,
    ) -> Result<Put> {
        let mut stream = self.objects().put_stream(options);
        // Most contents are small, and need no window.
        let mut first = vec![0; EXTENT_BYTES_MAX];
        let filled = fill(&mut first)?;
        if filled < first.len() {
            return self.wait(async {
                stream.write(&first[..filled]).await?;
                stream.finish().await
            });
        }
        let mut windows = Windows::default();
        let mut window = windows.take();
        let (begin, rest) = window[LEFT_OVER_MAX..].split_at_mut(first.len());
        begin.copy_from_slice(&first);
        drop(first);
        let mut filled = EXTENT_BYTES_MAX + fill(rest)?;
        if filled == WINDOW_BYTES && self.objects().threads.get() > 1 {
            (window, filled) = self.put_beside(&mut stream, window, &mut windows, &mut fill)?;
        }
        while filled == WINDOW_BYTES {
            windows.lend(self.wait(stream.write_window(window))?);
            window = windows.take();
            filled = fill(&mut window[LEFT_OVER_MAX..])?;
        }
        self.wait(async {
            stream.write(&window[LEFT_OVER_MAX..][..filled]).await?;
            stream.finish().await
        })
    }

    /// Puts full windows on a thread of their own, `window` first, while `fill` fills the next ones on this thread. Returns the
    /// first that was not filled, and how far it was.
    fn put_beside(
        &self,
        stream: &mut PutStream,
        mut window: BytesMut,
        windows: &mut Windows,
        mut fill: impl FnMut(&mut [u8]) -> Result<usize>,
    ) -> Result<(BytesMut, usize)> {
        std::thread::scope(|scope| {
            let (full, filled) = channel::bounded(0);
            let (put, done) = channel::bounded(1);
            scope.spawn(move || {
                for window in filled {
                    if put.send(self.wait(stream.write_window(window))).is_err() {
                        return;
                    }
                }
            });
            loop {
                full.send(window)
                    .expect("the other thread takes windows until this one ends");
                window = windows.take();
                let now = fill(&mut window[LEFT_OVER_MAX..]);
                windows.lend(done.recv().expect("it answers each")?);
                match now? {
                    WINDOW_BYTES => {}
                    last => return Ok((window, last)),
                }
            }
        })
    }
}

/// Memory of windows, oldest first, of which chunks may be on their way to the device.
#[derive(Default)]
struct Windows {
    lent: VecDeque<Bytes>,
}

impl Windows {
    /// Keeps memory for later. What is not kept goes when its chunks have been written.
    fn lend(&mut self, window: Bytes) {
        if self.lent.len() == WINDOWS_KEPT {
            self.lent.pop_front();
        }
        self.lent.push_back(window);
    }

    /// Memory that nobody else has. Chunks are written in order: where the oldest is still needed, so are the others.
    fn take(&mut self) -> BytesMut {
        match self.lent.pop_front().map(Bytes::try_into_mut) {
            Some(Ok(memory)) => return memory,
            Some(Err(needed)) => self.lent.push_front(needed),
            None => {}
        }
        BytesMut::zeroed(MEMORY_BYTES)
    }
}

/// Fills `space`, or less of it at the end of what is put.
pub(crate) fn read_full(reader: &mut impl Read, space: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < space.len() {
        match reader.read(&mut space[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => {
                return Err(Error::Stream {
                    operation: "reading the content",
                    source,
                });
            }
        }
    }
    Ok(filled)
}

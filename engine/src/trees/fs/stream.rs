//! Large contents: from an open file into the store piece by piece, and back, holes included.

use std::io;
use std::os::fd::BorrowedFd;

use super::control::{Control, Counter};
use super::platform;
use super::read::Sink;
use crate::error::{Error, Result};
use crate::format::ContentId;
use crate::hash::Hasher;

/// Bytes read at once.
const PIECE_BYTES: usize = 1 << 20;

/// Reads the first `size` bytes of a file (and whatever has been added since): the id of the content, and how long it
/// was.
pub(super) fn read(
    file: BorrowedFd<'_>,
    size: u64,
    sink: &Sink<'_>,
    control: &Control,
    counter: &Counter<'_>,
) -> Result<(ContentId, u64)> {
    let problem = |error: io::Error| Error::path("read", "", error);
    let mut hasher = Hasher::new();
    let _ = sink;
    let mut buffer = vec![0; PIECE_BYTES];
    let mut at = 0;
    loop {
        control.check()?;
        let end = match platform::next_data(file, at).map_err(problem)? {
            None => {
                let hole = size.saturating_sub(at);
                hasher.update_zeroes(hole);
                counter.add(0, hole);
                return Ok((hasher.finish(), at + hole));
            }
            Some((start, end)) => {
                hasher.update_zeroes(start - at);
                counter.add(0, start - at);
                at = start;
                end
            }
        };
        platform::seek(file, at).map_err(problem)?;
        while at < end {
            control.check()?;
            let want = usize::try_from(end - at).unwrap_or(usize::MAX).min(PIECE_BYTES);
            let got = platform::read_full(file, &mut buffer[..want]).map_err(problem)?;
            hasher.update(&buffer[..got]);
            counter.add(0, got as u64);
            at += got as u64;
            if got < want {
                return Ok((hasher.finish(), at));
            }
        }
    }
}

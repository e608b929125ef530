//! A whole request, which the owner carries out: its bytes, progress and warnings go through the caller's exchange.

use std::io;

use bytes::Bytes;
use helios_engine::ops::{Class, Exchange, Failure, Reply, Step, Warning};

use super::line::{Asked, Came};
use crate::client::read;
use crate::wire::frame::{BODY_BYTES_MAX, END, Kind};
use crate::wire::message::{Answer, Want};

/// Attends to a request that was asked for until it is answered.
///
/// # Errors
/// It has failed, here or at the owner; the connection has.
pub(super) fn attend(asked: Asked, exchange: &mut dyn Exchange) -> Result<Reply, Failure> {
    let mut talk = Talk {
        asked,
        exchange,
        cancelled: false,
        own: None,
    };
    let outcome = talk.listen();
    // What stopped the request here explains more than what the owner makes of it.
    talk.own.map_or(outcome, Err)
}

struct Talk<'a> {
    asked: Asked,
    exchange: &'a mut dyn Exchange,
    cancelled: bool,
    /// What failed on this side.
    own: Option<Failure>,
}

impl Talk<'_> {
    fn listen(&mut self) -> Result<Reply, Failure> {
        loop {
            if self.exchange.cancel().is_cancelled() {
                self.cancel()?;
            }
            let frame = match self.asked.next()? {
                Came::Nothing => continue,
                Came::Frame(frame) => frame,
                Came::Answer(Answer::Ran { result }) => return Ok(result),
                Came::Answer(_) => return Err(self.asked.odd("it answers something else")),
            };
            match frame.kind {
                Kind::Progress => {
                    let step = self.asked.sound(read::<Step>(&frame.head))?;
                    (self.exchange.reporter())(step);
                }
                Kind::Warning => {
                    let warning = self.asked.sound(read::<Warning>(&frame.head))?;
                    self.exchange.warn(&warning);
                }
                Kind::Output => {
                    if self.own.is_none()
                        && let Err(error) = self.exchange.output(&frame.body)
                    {
                        self.stop(format!("writing the content: {error}"))?;
                    }
                }
                Kind::Want => {
                    let want = self.asked.sound(read::<Want>(&frame.head))?;
                    self.give(&want)?;
                }
                kind => return Err(self.asked.odd(format!("a frame of kind {kind:?}"))),
            }
        }
    }

    fn cancel(&mut self) -> Result<(), Failure> {
        if self.cancelled {
            return Ok(());
        }
        self.cancelled = true;
        self.asked.send(Kind::Cancel, 0, Bytes::new())
    }

    /// Ends the request because of what happened here.
    fn stop(&mut self, what: String) -> Result<(), Failure> {
        self.own = Some(Failure::new(Class::Io, what));
        self.cancel()
    }

    fn give(&mut self, want: &Want) -> Result<(), Failure> {
        let most = usize::try_from(want.bytes)
            .unwrap_or(usize::MAX)
            .min(BODY_BYTES_MAX);
        let mut bytes = vec![0; most];
        let mut filled = 0;
        while filled < most && self.own.is_none() {
            match self.exchange.input(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(some) => filled += some,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.stop(format!("reading the content: {error}"))?,
            }
        }
        bytes.truncate(filled);
        let flags = if filled == 0 { END } else { 0 };
        self.asked.send(Kind::Input, flags, bytes)
    }
}

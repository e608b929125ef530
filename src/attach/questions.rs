//! Questions about extents and roots, as the engine asks them of the process that owns the store.
//!
//! Threads ask side by side; contents are asked for ahead ([`Link::get_many`]).

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use helios_engine::Error;
use helios_engine::access::{BatchNumber, Coming, Link};
use helios_engine::format::Domain;
use helios_engine::ops::{Cancel, Class, Failure};
use helios_engine::store::{Extent, Key, Root, RootKind, RootUpdate};

use super::line::{Asked, Came, LOOK_EVERY, Line};
use crate::client;
use crate::wire::extents::{
    Ask, NO_LENGTH, Refused, RootMove, RootTold, Told, take_piece, write_extents, write_keys,
};
use crate::wire::frame::Kind;
use crate::wire::message::{Answer, Call};

/// An owner that has no time or no room is asked again for this long.
const BUSY_PATIENCE: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Clone)]
pub(super) struct Questions {
    pub(super) line: Arc<Line>,
    pub(super) cancel: Cancel,
}

/// A question under way.
struct Question {
    ask: Ask,
    body: Vec<Bytes>,
    asked: Asked,
}

impl Questions {
    /// Asks, and waits for the answer.
    fn ask(
        &self,
        ask: Ask,
        body: Vec<Bytes>,
        output: impl FnMut(Bytes) -> Result<(), String>,
    ) -> Result<Told, Failure> {
        self.answer(self.begin_to_ask(ask, body)?, output)
    }

    /// Asks, and does not wait.
    fn begin_to_ask(&self, ask: Ask, body: Vec<Bytes>) -> Result<Question, Failure> {
        let asked = self.line.ask(&Call::Store(ask.clone()), &body)?;
        Ok(Question { ask, body, asked })
    }

    /// Waits for the answer; gives out the bytes that come before it, frame by frame. An owner that has no time or no room is
    /// asked again when it says so, as long as it has begun nothing.
    fn answer(
        &self,
        mut question: Question,
        mut output: impl FnMut(Bytes) -> Result<(), String>,
    ) -> Result<Told, Failure> {
        let mut left = BUSY_PATIENCE;
        loop {
            let failure = match self.answer_once(&mut question, &mut output) {
                Err(failure)
                    if failure.class == Class::Busy
                        && !matches!(question.ask, Ask::Begin)
                        && !self.line.is_over() =>
                {
                    failure
                }
                other => return other,
            };
            let pause = Duration::from_millis(failure.retry_after_ms.unwrap_or(0).max(1)).min(LOOK_EVERY);
            if left < pause || self.cancel.is_cancelled() {
                return Err(failure);
            }
            left -= pause;
            client::wait(pause);
            question = self.begin_to_ask(question.ask, question.body)?;
        }
    }

    fn answer_once(
        &self,
        question: &mut Question,
        output: &mut dyn FnMut(Bytes) -> Result<(), String>,
    ) -> Result<Told, Failure> {
        // Whether roots have moved is not left open because somebody is in a hurry.
        let stoppable = !matches!(question.ask, Ask::Submit { .. });
        let asked = &mut question.asked;
        loop {
            let frame = match asked.next()? {
                Came::Nothing if stoppable && self.cancel.is_cancelled() => {
                    return Err(Error::Cancelled.into());
                }
                Came::Nothing => continue,
                Came::Frame(frame) => frame,
                Came::Answer(Answer::Store(told)) => return Ok(told),
                Came::Answer(_) => return Err(asked.odd("it answers something else")),
            };
            match frame.kind {
                Kind::Output => output(frame.body).map_err(|what| asked.odd(what))?,
                kind => return Err(asked.odd(format!("a frame of kind {kind:?}"))),
            }
        }
    }

    /// Asks about extents for one answer of so many bytes.
    fn ask_for(&self, ask: Ask, keys: &[Key], length: usize) -> Result<Bytes, Failure> {
        let mut answer = BytesMut::new();
        self.ask(ask, vec![write_keys(keys)], |bytes| {
            answer.extend_from_slice(&bytes);
            Ok(())
        })?;
        if answer.len() != length {
            return Err(self.odd(format!("{} bytes in place of {length}", answer.len())));
        }
        Ok(answer.freeze())
    }

    /// Asks for no bytes.
    fn tell(&self, ask: Ask, body: Vec<Bytes>) -> Result<Told, Failure> {
        self.ask(ask, body, |_| Err("bytes that nobody asked for".into()))
    }

    /// The extents that were asked for.
    fn extents(&self, question: Question, count: usize) -> Result<Vec<Result<Bytes, Error>>, Error> {
        let mut pieces: Vec<Option<Bytes>> = Vec::with_capacity(count);
        let told = self.answer(question, |mut bytes| {
            while !bytes.is_empty() {
                pieces.push(take_piece(&mut bytes)?);
            }
            Ok(())
        })?;
        let mut refused = told.refused.into_iter();
        let mut answers = Vec::with_capacity(count);
        for piece in pieces {
            answers.push(match piece {
                Some(bytes) => Ok(bytes),
                None => match refused.next() {
                    Some(refused) => Err(refused.into_error()),
                    None => return Err(self.odd("it refuses an extent and does not say why").into()),
                },
            });
        }
        if answers.len() != count {
            return Err(self
                .odd(format!("{} extents in place of {count}", answers.len()))
                .into());
        }
        Ok(answers)
    }

    fn odd(&self, what: impl Into<String>) -> Failure {
        self.line.odd(what)
    }

    fn root_of(&self, told: RootTold) -> Result<Root, Error> {
        Ok(told.into_root().map_err(|what| self.odd(what))?)
    }
}

impl Link for Questions {
    fn lengths(&self, keys: &[Key]) -> Result<Vec<Option<u32>>, Error> {
        let mut bytes = self.ask_for(Ask::Lengths, keys, 4 * keys.len())?;
        let length = |_| Some(bytes.get_u32_le()).filter(|length| *length != NO_LENGTH);
        Ok(keys.iter().map(length).collect())
    }

    fn get_many(&self, keys: &[Key]) -> Result<Coming<Vec<Result<Bytes, Error>>>, Error> {
        let question = self.begin_to_ask(Ask::Get, vec![write_keys(keys)])?;
        let (questions, count) = (self.clone(), keys.len());
        Ok(Box::new(move || questions.extents(question, count)))
    }

    fn root(&self, kind: RootKind, name: &[u8]) -> Result<Option<Root>, Error> {
        let name = name.into();
        let told = self.tell(Ask::Root { kind, name }, Vec::new())?;
        told.roots
            .into_iter()
            .next()
            .map(|told| self.root_of(told))
            .transpose()
    }

    fn roots(&self, kind: RootKind) -> Result<Vec<Root>, Error> {
        let told = self.tell(Ask::Roots { kind }, Vec::new())?;
        told.roots.into_iter().map(|told| self.root_of(told)).collect()
    }

    fn begin(&self) -> Result<BatchNumber, Error> {
        let told = self.tell(Ask::Begin, Vec::new())?;
        let number = told.batch.ok_or_else(|| self.odd("a batch without a number"))?;
        Ok(BatchNumber(number))
    }

    fn hold(&self, batch: BatchNumber, keys: &[Key]) -> Result<Vec<bool>, Error> {
        let bytes = self.ask_for(Ask::Hold { batch: batch.0 }, keys, keys.len())?;
        Ok(bytes.iter().map(|held| *held == 1).collect())
    }

    fn put(&self, batch: BatchNumber, extents: Vec<Extent>) -> Result<(), Error> {
        self.tell(Ask::Put { batch: batch.0 }, write_extents(&extents))?;
        Ok(())
    }

    fn submit(&self, batch: BatchNumber, domain: Domain, updates: Vec<RootUpdate>) -> Result<(), Error> {
        let ask = Ask::Submit {
            batch: batch.0,
            domain: domain.0,
            roots: updates.into_iter().map(RootMove::from).collect(),
        };
        let told = self.tell(ask, Vec::new())?;
        match told.refused.into_iter().next() {
            Some(refused) => Err(Refused::into_error(refused)),
            None => Ok(()),
        }
    }

    fn durable(&self, batch: BatchNumber) -> Result<(), Error> {
        self.tell(Ask::Durable { batch: batch.0 }, Vec::new())?;
        Ok(())
    }

    fn end(&self, batch: BatchNumber) {
        // Without the connection it has ended already.
        if let Err(failure) = self.tell(Ask::End { batch: batch.0 }, Vec::new()) {
            tracing::debug!("a batch ends with its connection: {failure}");
        }
    }

    fn flush(&self) -> Result<(), Error> {
        self.tell(Ask::Flush, Vec::new())?;
        Ok(())
    }
}

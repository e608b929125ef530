//! The client of a store that another process owns: sends requests to the owner and moves their bytes.
//!
//! One connection, one call at a time. Contents, progress and warnings go through the caller's exchange as they would if the
//! store were open here, so a command prints the same either way.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use helios_engine::ops::{Class, Client, Exchange, Failure, Reply, Request, Step, Warning};
use parking_lot::Mutex;

use crate::client::{self, CallError, read};
use crate::wire::frame::{BODY_BYTES_MAX, END, Frame, Kind};
use crate::wire::message::{Answer, Call, Joined, Message, Want};
use crate::wire::stream::Conversation;

/// Time between two looks at the wish to stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A connection to the owner of a store.
pub struct Attached {
    socket: PathBuf,
    state: Mutex<State>,
}

struct State {
    conversation: Conversation,
    next_call: u64,
    /// The connection has failed; nothing more can be asked.
    failed: bool,
}

impl Attached {
    /// Connects to the owner that listens at a path. `None` if nobody does any more.
    ///
    /// # Errors
    /// The owner does not let this process in, or speaks another version.
    pub fn connect(path: &Path) -> Result<Option<Attached>, Failure> {
        let conversation = match client::connect(path) {
            Ok((conversation, _)) => conversation,
            Err(error) if error.is_absent() => return Ok(None),
            Err(error) => return Err(failure(path, error)),
        };
        conversation
            .socket()
            .set_read_timeout(Some(LOOK_EVERY))
            .map_err(|error| lost(path, &error))?;
        Ok(Some(Attached {
            socket: path.to_owned(),
            state: Mutex::new(State {
                conversation,
                next_call: 1,
                failed: false,
            }),
        }))
    }

    fn run(&self, request: Request, exchange: &mut dyn Exchange) -> Result<Reply, Failure> {
        let mut state = self.state.lock();
        if state.failed {
            return Err(lost(&self.socket, &io::ErrorKind::NotConnected.into()));
        }
        let call = state.next_call;
        state.next_call += 1;
        let mut talk = Talk {
            conversation: &mut state.conversation,
            exchange,
            call,
            cancelled: false,
            own: None,
        };
        let outcome = talk.through(request);
        let own = talk.own.take();
        match outcome {
            // What stopped the call here explains more than what the owner makes of it.
            Ok(answer) => match own {
                Some(failure) => Err(failure),
                None => answer,
            },
            Err(error) => {
                state.failed = true;
                Err(own.unwrap_or_else(|| failure(&self.socket, error)))
            }
        }
    }
}

impl Client for Attached {
    fn call(&self, request: Request, exchange: &mut dyn Exchange) -> Result<Reply, Failure> {
        self.run(request, exchange)
    }
}

/// One call.
struct Talk<'a> {
    conversation: &'a mut Conversation,
    exchange: &'a mut dyn Exchange,
    call: u64,
    cancelled: bool,
    /// What failed on this side.
    own: Option<Failure>,
}

impl Talk<'_> {
    fn through(&mut self, request: Request) -> Result<Result<Reply, Failure>, CallError> {
        for frame in (Call::Run { request }).frames(self.call) {
            self.conversation.send(frame)?;
        }
        let mut joined = Joined::default();
        loop {
            if self.exchange.cancel().is_cancelled() {
                self.cancel()?;
            }
            let frame = match self.conversation.receive() {
                Ok(Some(frame)) => frame,
                Ok(None) => return Err(CallError::Lost(io::ErrorKind::UnexpectedEof.into())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            };
            if frame.kind == Kind::Goodbye {
                return Err(client::refused(&frame.head));
            }
            if frame.call != self.call {
                return Err(CallError::Odd(format!(
                    "it answers call {}, which was not made",
                    frame.call
                )));
            }
            match frame.kind {
                Kind::Progress => (self.exchange.reporter())(read::<Step>(&frame.head)?),
                Kind::Warning => self.exchange.warn(&read::<Warning>(&frame.head)?),
                Kind::Output => {
                    if self.own.is_none()
                        && let Err(error) = self.exchange.output(&frame.body)
                    {
                        self.stop(format!("writing the content: {error}"))?;
                    }
                }
                Kind::Want => self.give(read::<Want>(&frame.head)?)?,
                Kind::Reply => {
                    if let Some(head) = joined.take(&frame) {
                        return match read::<Answer>(&head)? {
                            Answer::Ran { result } => Ok(Ok(result)),
                            _ => Err(CallError::Odd("it answers something else".into())),
                        };
                    }
                }
                Kind::Failure => {
                    if let Some(head) = joined.take(&frame) {
                        return Ok(Err(read::<Failure>(&head)?));
                    }
                }
                kind => return Err(CallError::Odd(format!("a frame of kind {kind:?}"))),
            }
        }
    }

    fn cancel(&mut self) -> io::Result<()> {
        if self.cancelled {
            return Ok(());
        }
        self.cancelled = true;
        self.conversation
            .send(Frame::new(Kind::Cancel, self.call, Bytes::new()))
    }

    /// Ends the call because of what happened here.
    fn stop(&mut self, what: String) -> io::Result<()> {
        self.own = Some(Failure::new(Class::Io, what));
        self.cancel()
    }

    fn give(&mut self, want: Want) -> Result<(), CallError> {
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
        let frame = Frame::new(Kind::Input, self.call, Bytes::new())
            .with_body(bytes)
            .with_flags(flags);
        Ok(self.conversation.send(frame)?)
    }
}

/// What went wrong with the owner that listens at `path`, as commands tell it.
pub(crate) fn failure(path: &Path, error: CallError) -> Failure {
    let say = |class, what: &str| {
        Failure::new(
            class,
            format!("the owner of the store, at {}: {what}", path.display()),
        )
    };
    match error {
        CallError::Failed(failure) => failure,
        CallError::Lost(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            say(Class::InUse, "this user may not use its socket")
                .with_hint("run the command as its user; it lets others in with `helios serve --allow-uid`")
        }
        CallError::Lost(error) => lost(path, &error),
        CallError::Refused(reason) => say(Class::InUse, &reason),
        CallError::Odd(what) => say(Class::Failed, &format!("it makes no sense: {what}"))
            .with_hint("it may be another version of helios; restart it"),
    }
}

fn lost(path: &Path, error: &io::Error) -> Failure {
    let gone = matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
    );
    let what = if gone {
        "it is gone".to_owned()
    } else {
        error.to_string()
    };
    Failure::new(
        Class::Io,
        format!("the owner of the store, at {}: {what}", path.display()),
    )
    .with_hint("what it was doing may be done or not; look, then try again")
}

//! The connection to the owner of a store: calls by number, several of them under way, each waited for by whoever made it.
//!
//! No thread reads for all. Of those who wait one reads and hands the others what is theirs; when it has its own answer, the
//! next of them reads. So whoever is alone waits for the socket and for nobody else.
//! Invariants: frames of one call come in the order in which the owner sent them, and frames go out whole. Who finds the socket
//! full reads before it tries again, because the owner takes nothing from a client that does not take its answers. What comes
//! for a call that nobody waits for any more is dropped. Once the connection has failed, all who wait are told why.
//! What has come and is not taken is in memory: at most the answers to the questions under way.
//! Rejected: a thread that reads (a hop for every answer); a connection for each thread (batches belong to one).

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use helios_engine::ops::Failure;
use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{failure, lost};
use crate::client::{self, CallError, read};
use crate::wire::frame::{Frame, Kind};
use crate::wire::message::{Answer, Call, Joined, Message};
use crate::wire::stream::{Arrived, Conversation, Departing};

/// Nobody waits longer without a look at whether it still wants to.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Who finds the socket full while another reads tries again after this time, should nothing wake it.
const FULL_PATIENCE: Duration = Duration::from_millis(10);

/// See the module.
pub(super) struct Line {
    path: PathBuf,
    /// Reading from it waits for [`LOOK_EVERY`].
    socket: UnixStream,
    sending: Mutex<()>,
    state: Mutex<State>,
    /// Something has come, or nobody reads any more.
    news: Condvar,
}

struct State {
    /// Absent while somebody reads.
    arrived: Option<Arrived>,
    /// What has come for each call that somebody waits for.
    calls: HashMap<u64, VecDeque<Frame>>,
    next_call: u64,
    /// Why nothing more can be asked.
    over: Option<Failure>,
}

/// A call under way. Whoever drops it does not want to know what comes of it.
pub(super) struct Asked {
    line: Arc<Line>,
    call: u64,
    joined: Joined,
}

/// What comes of a call.
pub(super) enum Came {
    /// Nothing for [`LOOK_EVERY`]: whoever waits can look whether it still wants to.
    Nothing,
    /// Something before the answer.
    Frame(Frame),
    /// The answer, which is the last.
    Answer(Answer),
}

impl Line {
    /// Connects to the owner that listens at a path.
    ///
    /// # Errors
    /// As [`client::connect`].
    pub(super) fn connect(path: &Path) -> Result<Line, CallError> {
        let (conversation, _) = client::connect(path)?;
        Line::over(path, conversation).map_err(CallError::Lost)
    }

    /// Over a connection that has been greeted.
    fn over(path: &Path, conversation: Conversation) -> io::Result<Line> {
        let (socket, arrived) = conversation.into_parts();
        socket.set_read_timeout(Some(LOOK_EVERY))?;
        Ok(Line {
            path: path.to_owned(),
            socket,
            sending: Mutex::new(()),
            state: Mutex::new(State {
                arrived: Some(arrived),
                calls: HashMap::new(),
                next_call: 1,
                over: None,
            }),
            news: Condvar::new(),
        })
    }

    /// Makes a call, its body in parts, and does not wait for what comes of it.
    ///
    /// # Errors
    /// The connection has failed.
    pub(super) fn ask(self: &Arc<Self>, call: &Call, body: &[Bytes]) -> Result<Asked, Failure> {
        let number = {
            let mut state = self.state.lock();
            if state.over.is_some() {
                return Err(lost(&self.path, &io::ErrorKind::NotConnected.into()));
            }
            let number = state.next_call;
            state.next_call += 1;
            state.calls.insert(number, VecDeque::new());
            number
        };
        let asked = Asked {
            line: Arc::clone(self),
            call: number,
            joined: Joined::default(),
        };
        let mut frames = call.frames(number);
        let last = frames.pop().expect("a message has frames");
        let frames = frames.into_iter().map(Departing::new);
        self.send(frames.chain([Departing::of_parts(last, body)]))?;
        Ok(asked)
    }

    /// Whether nothing more can be asked.
    pub(super) fn is_over(&self) -> bool {
        self.state.lock().over.is_some()
    }

    /// The owner says what makes no sense: the connection ends.
    pub(super) fn odd(&self, what: impl Into<String>) -> Failure {
        self.fail(CallError::Odd(what.into()))
    }

    /// Ends the connection for all who wait.
    fn fail(&self, error: CallError) -> Failure {
        let failure = failure(&self.path, error);
        self.state.lock().over.get_or_insert_with(|| failure.clone());
        self.news.notify_all();
        failure
    }

    fn send(&self, frames: impl IntoIterator<Item = Departing>) -> Result<(), Failure> {
        let _whole = self.sending.lock();
        for mut departing in frames {
            loop {
                match departing.send(&self.socket) {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.make_way()?,
                    Err(error) => return Err(self.fail(error.into())),
                }
            }
        }
        Ok(())
    }

    /// Waits until the socket may take more, and reads what comes meanwhile.
    fn make_way(&self) -> Result<(), Failure> {
        let state = self.state.lock();
        if let Some(over) = &state.over {
            return Err(over.clone());
        }
        if state.arrived.is_none() {
            drop(state);
            self.wait_for(PollFlags::OUT, FULL_PATIENCE);
            return Ok(());
        }
        self.read(state, || {
            self.wait_for(PollFlags::IN | PollFlags::OUT, LOOK_EVERY)
                .contains(PollFlags::IN)
        });
        Ok(())
    }

    fn wait_for(&self, flags: PollFlags, patience: Duration) -> PollFlags {
        let mut polled = [PollFd::new(&self.socket, flags)];
        let patience = Timespec::try_from(patience).expect("a part of a second");
        // Interrupted, or out of memory: whoever asks tries again.
        match poll(&mut polled, Some(&patience)) {
            Ok(_) => polled[0].revents(),
            Err(_) => PollFlags::empty(),
        }
    }

    /// Reads once for all, unless `begin` says that there is nothing to read. Nobody else may be reading. True if something came.
    fn read(&self, mut state: MutexGuard<'_, State>, begin: impl FnOnce() -> bool) -> bool {
        let mut arrived = state.arrived.take().expect("nobody else reads");
        let mut frames = Vec::new();
        let read = MutexGuard::unlocked(&mut state, || match begin() {
            true => receive(&self.socket, &mut arrived, &mut frames),
            false => Ok(false),
        });
        state.arrived = Some(arrived);
        let handed = frames.into_iter().try_for_each(|frame| state.hand_out(frame));
        let came = match handed.and(read.map_err(CallError::Lost)) {
            Ok(came) => came,
            Err(error) => {
                state.over.get_or_insert_with(|| failure(&self.path, error));
                true
            }
        };
        drop(state);
        self.news.notify_all();
        came
    }
}

/// Receives once and takes the frames that are whole. False if nothing came in time.
fn receive(socket: &UnixStream, arrived: &mut Arrived, frames: &mut Vec<Frame>) -> io::Result<bool> {
    match arrived.receive(socket) {
        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
        Err(error) => return Err(error),
    }
    while let Some(frame) = arrived.take()? {
        frames.push(frame);
    }
    Ok(true)
}

impl State {
    fn hand_out(&mut self, frame: Frame) -> Result<(), CallError> {
        if frame.kind == Kind::Goodbye {
            return Err(client::refused(&frame.head));
        }
        match self.calls.get_mut(&frame.call) {
            Some(waiting) => waiting.push_back(frame),
            None if frame.call != 0 && frame.call < self.next_call => {}
            None => {
                let what = format!("it answers call {}, which was not made", frame.call);
                return Err(CallError::Odd(what));
            }
        }
        Ok(())
    }
}

impl Asked {
    /// What comes next of the call.
    ///
    /// # Errors
    /// The call has failed, or the connection.
    pub(super) fn next(&mut self) -> Result<Came, Failure> {
        while let Some(frame) = self.frame()? {
            let joined = match frame.kind {
                Kind::Reply | Kind::Failure => self.joined.take(&frame),
                _ => return Ok(Came::Frame(frame)),
            };
            match joined {
                Some(head) if frame.kind == Kind::Reply => return Ok(Came::Answer(self.sound(read(&head))?)),
                Some(head) => return Err(self.sound(read::<Failure>(&head))?),
                None => {}
            }
        }
        Ok(Came::Nothing)
    }

    /// The next frame; none if nothing came for [`LOOK_EVERY`].
    fn frame(&self) -> Result<Option<Frame>, Failure> {
        let line = &*self.line;
        loop {
            let mut state = line.state.lock();
            let waiting = state.calls.get_mut(&self.call).expect("until it is dropped");
            if let Some(frame) = waiting.pop_front() {
                return Ok(Some(frame));
            }
            if let Some(over) = &state.over {
                return Err(over.clone());
            }
            let came = match state.arrived {
                Some(_) => line.read(state, || true),
                None => !line.news.wait_for(&mut state, LOOK_EVERY).timed_out(),
            };
            if !came {
                return Ok(None);
            }
        }
    }

    /// Sends something that belongs to the call.
    ///
    /// # Errors
    /// The connection has failed.
    pub(super) fn send(&self, kind: Kind, flags: u16, body: impl Into<Bytes>) -> Result<(), Failure> {
        let frame = Frame::new(kind, self.call, Bytes::new())
            .with_body(body)
            .with_flags(flags);
        self.line.send([Departing::new(frame)])
    }

    /// What was understood; the connection ends if that is nothing.
    ///
    /// # Errors
    /// It was an error.
    pub(super) fn sound<T>(&self, understood: Result<T, CallError>) -> Result<T, Failure> {
        understood.map_err(|error| self.line.fail(error))
    }

    /// The owner says what makes no sense: the connection ends.
    pub(super) fn odd(&self, what: impl Into<String>) -> Failure {
        self.line.odd(what)
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.line.state.lock().calls.remove(&self.call);
    }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;

//! What the heads of frames say.

use bytes::Bytes;
use helios_engine::ops::files::{FileResults, FileStep, FilesOpened, OpenFiles};
use helios_engine::ops::{ByteString, Failure, Reply, Request, Step, Warning};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::extents::{Ask, Told};
use super::frame::{Frame, HEAD_BYTES_MAX, Kind, MORE};

/// Versions of the protocol this program speaks, best first.
pub const VERSIONS: [u32; 1] = [1];

/// First word of a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Always `helios`.
    pub protocol: String,
    /// Versions it speaks, best first.
    pub versions: Vec<u32>,
    /// What it is, for logs: `helios 0.1.0`.
    pub program: String,
}

/// First word of an owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The version that is spoken from now on.
    pub version: u32,
    /// What it is, for logs: `helios 0.1.0`.
    pub program: String,
    /// The store it owns, as an address.
    pub store: String,
    /// Calls of one connection that may be under way at once; more are answered with a failure of class `busy`.
    pub calls_max: u32,
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Call {
    /// A whole operation, as the command line has them.
    Run {
        /// Which.
        request: Request,
    },
    /// Opens a working tree, whose number is that of this call, until it is closed or the connection ends.
    OpenFiles(OpenFiles),
    /// Carries out steps on a working tree. The bytes of what they write are the body of the frame.
    Files {
        /// Its number.
        tree: u64,
        /// What to do, in order; the first that fails ends the call.
        steps: Vec<FileStep>,
    },
    /// Makes a branch at the commit a working tree started from, and opens a tree on it that begins with the same changes. Its
    /// number is that of this call.
    ForkFiles {
        /// Number of the tree that is forked.
        tree: u64,
        /// Name of the new branch.
        branch: ByteString,
    },
    /// Drops a working tree, and what it has not committed.
    CloseFiles {
        /// Its number.
        tree: u64,
    },
    /// A question about extents, batches or roots, or something to be done with them: what commands about directories need.
    Store(Ask),
    /// Answers at once: for measuring and for looking whether the owner is well.
    Ping,
    /// Asks for the metrics of the owner, as text in the format of Prometheus in frames of kind `Output`, and how it is.
    Observe,
}

/// How many bytes of input are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// At most.
    pub bytes: u64,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum Answer {
    /// Of [`Call::Run`].
    Ran {
        /// What came of the request.
        result: Reply,
    },
    /// Of [`Call::OpenFiles`] and [`Call::ForkFiles`].
    Opened {
        /// Its number on this connection.
        tree: u64,
        /// What it is.
        opened: FilesOpened,
    },
    /// Of [`Call::Files`]; what was read came before, in frames of kind `Output`.
    Stepped {
        /// What came of the steps.
        results: FileResults,
    },
    /// Of [`Call::CloseFiles`].
    Closed,
    /// Of [`Call::Store`].
    Store(Told),
    /// Of [`Call::Ping`].
    Pong,
    /// Of [`Call::Observe`]; the metrics came before.
    Observed {
        /// How the owner is.
        health: Health,
    },
}

/// How an owner is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether it does anything; if not, only a new start helps.
    pub live: bool,
    /// Whether it takes calls, reads and writes.
    pub ready: bool,
    /// Whether something is wrong that leaves it at work.
    pub degraded: bool,
    /// Everything that is not as it should be.
    pub reasons: Vec<Reason>,
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Its stable name.
    pub reason: String,
    /// The facts, for people.
    pub message: String,
}

/// Why a connection ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    /// In one line.
    pub reason: String,
    /// When to connect again, in milliseconds from now, where that is worth it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Goodbye {
    /// Whoever connects again hears the same.
    pub fn new(reason: impl Into<String>) -> Goodbye {
        Goodbye {
            reason: reason.into(),
            retry_after_ms: None,
        }
    }
}

/// A message that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("a message of kind {kind:?} makes no sense: {source}")]
pub struct Nonsense {
    kind: Kind,
    source: serde_json::Error,
}

/// A value that is the head of frames of one kind.
pub trait Message: Serialize + DeserializeOwned {
    /// The kind.
    const KIND: Kind;

    /// The frames that carry it: one, unless it is long.
    fn frames(&self, call: u64) -> Vec<Frame> {
        let head = Bytes::from(serde_json::to_vec(self).expect("messages are made of plain values"));
        let mut frames: Vec<Frame> = Vec::new();
        let mut rest = head;
        while rest.len() > HEAD_BYTES_MAX {
            let piece = rest.split_to(HEAD_BYTES_MAX);
            frames.push(Frame::new(Self::KIND, call, piece).with_flags(MORE));
        }
        frames.push(Frame::new(Self::KIND, call, rest));
        frames
    }

    /// The only frame of a message that is known to be short.
    fn frame(&self, call: u64) -> Frame {
        let mut frames = self.frames(call);
        assert_eq!(frames.len(), 1, "a message of kind {:?} is too long", Self::KIND);
        frames.remove(0)
    }

    /// The value in a head.
    ///
    /// # Errors
    /// The head is something else.
    fn read(head: &[u8]) -> Result<Self, Nonsense> {
        serde_json::from_slice(head).map_err(|source| Nonsense {
            kind: Self::KIND,
            source,
        })
    }
}

impl Message for Hello {
    const KIND: Kind = Kind::Hello;
}
impl Message for Welcome {
    const KIND: Kind = Kind::Welcome;
}
impl Message for Call {
    const KIND: Kind = Kind::Call;
}
impl Message for Want {
    const KIND: Kind = Kind::Want;
}
impl Message for Step {
    const KIND: Kind = Kind::Progress;
}
impl Message for Warning {
    const KIND: Kind = Kind::Warning;
}
impl Message for Answer {
    const KIND: Kind = Kind::Reply;
}
impl Message for Failure {
    const KIND: Kind = Kind::Failure;
}
impl Message for Goodbye {
    const KIND: Kind = Kind::Goodbye;
}

/// Puts the heads of a long message together again.
#[derive(Debug, Default)]
pub struct Joined(Vec<u8>);

impl Joined {
    /// Bytes that wait for the rest.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing has begun.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes a frame. The whole head, once it is there.
    pub fn take(&mut self, frame: &Frame) -> Option<Bytes> {
        if frame.has(MORE) {
            self.0.extend_from_slice(&frame.head);
            return None;
        }
        if self.0.is_empty() {
            return Some(frame.head.clone());
        }
        self.0.extend_from_slice(&frame.head);
        Some(Bytes::from(std::mem::take(&mut self.0)))
    }
}

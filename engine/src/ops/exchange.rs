//! What flows while a request runs: bytes in and out, progress, warnings, and the wish to stop.
//!
//! Owns no policy: whether progress is drawn, where output goes and what sets the flag is the caller's affair.
//! Invariant: every method is called on the thread that made the call; a [`Reporter`] and [`Cancel`] may be used
//! from any thread.

use std::io;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::reply::Warning;
use crate::trees::fs::Cancel;

/// What an operation is doing just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Opening the store, replaying its log where it was not closed cleanly.
    Opening,
    /// Walking a directory.
    Scanning,
    /// Reading files and storing what is new.
    Storing,
    /// Comparing two states.
    Comparing,
    /// Writing files into a directory.
    Writing,
    /// Reading extents to verify them.
    Checking,
    /// Following references from roots.
    Following,
    /// Moving the bytes of one content.
    Copying,
}

impl Stage {
    /// One word for a progress line.
    pub fn label(self) -> &'static str {
        match self {
            Stage::Opening => "opening",
            Stage::Scanning => "scanning",
            Stage::Storing => "storing",
            Stage::Comparing => "comparing",
            Stage::Writing => "writing",
            Stage::Checking => "checking",
            Stage::Following => "following",
            Stage::Copying => "copying",
        }
    }
}

/// How far an operation is. Counters only grow within a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What is being done.
    pub stage: Stage,
    /// Items done (files, extents).
    pub items: u64,
    /// All items of the stage, where known.
    pub items_total: Option<u64>,
    /// Bytes done.
    pub bytes: u64,
    /// All bytes of the stage, where known.
    pub bytes_total: Option<u64>,
}

impl Step {
    /// The beginning of a stage of unknown length.
    pub fn begin(stage: Stage) -> Step {
        Step {
            stage,
            items: 0,
            items_total: None,
            bytes: 0,
            bytes_total: None,
        }
    }
}

/// Takes note of progress, from any thread.
pub type Reporter = Arc<dyn Fn(Step) + Send + Sync>;

/// The other end of a running request.
pub trait Exchange {
    /// Where progress goes. Called often and from the operation's worker threads, so it should be cheap.
    fn reporter(&self) -> Reporter;

    /// Takes note of something skipped or odd that did not stop the operation. Also in the reply.
    fn warn(&mut self, warning: &Warning);

    /// Takes bytes of a content that is read. An error stops the operation.
    fn output(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Gives bytes of a content that is stored; 0 at its end. An error stops the operation.
    fn input(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// The flag that stops the operation at its next opportunity.
    fn cancel(&self) -> &Cancel;
}

/// An exchange without an audience: for calls that move no bytes and need no progress.
///
/// Its input is empty and its output goes nowhere.
#[derive(Debug, Clone, Default)]
pub struct Silent(Cancel);

impl Silent {
    /// One that can be stopped through `cancel`.
    pub fn with_cancel(cancel: Cancel) -> Silent {
        Silent(cancel)
    }
}

impl Exchange for Silent {
    fn reporter(&self) -> Reporter {
        Arc::new(|_| {})
    }

    fn warn(&mut self, _: &Warning) {}

    fn output(&mut self, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn input(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Ok(0)
    }

    fn cancel(&self) -> &Cancel {
        &self.0
    }
}

//! The client of a store that another process owns: sends requests to the owner and moves their bytes, and does itself what
//! concerns directories.
//!
//! Contents, progress and warnings go through the caller's exchange as they would if the store were open here, so a command
//! prints the same either way (`talk`). Requests about directories run here, by the code that runs them where the store is
//! open (`ops::Desk`): files are read and written as this process's user, and the owner is asked for extents and roots
//! (`questions`). All of it goes over one connection (`line`).

mod line;
mod questions;
mod talk;

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::Arc;

use helios_engine::access::Link;
use helios_engine::ops::{Class, Client, Desk, Exchange, Failure, Reply, Request};
use parking_lot::RwLock;

use crate::client::CallError;
use crate::wire::message::Call;
use line::Line;
use questions::Questions;

/// A connection to the owner of a store.
pub struct Attached {
    line: Arc<Line>,
    /// A whole request is alone: what it streams must not wait in memory while another thread reads for all.
    alone: RwLock<()>,
    /// Where the store is, as seen from here.
    store: OsString,
}

impl Attached {
    /// Connects to the owner of the store at address `store`, which listens at a path. `None` if nobody does any more.
    ///
    /// # Errors
    /// The owner does not let this process in, or speaks another version.
    pub fn connect(path: &Path, store: &OsStr) -> Result<Option<Attached>, Failure> {
        match Line::connect(path) {
            Ok(line) => Ok(Some(Attached {
                line: Arc::new(line),
                alone: RwLock::new(()),
                store: store.to_owned(),
            })),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(failure(path, error)),
        }
    }

    fn desk(&self, link: &Arc<Questions>) -> Result<Desk, Failure> {
        Desk::far(Arc::clone(link) as Arc<dyn Link>, &self.store)
    }
}

impl Client for Attached {
    fn call(&self, mut request: Request, exchange: &mut dyn Exchange) -> Result<Reply, Failure> {
        let link = Arc::new(Questions {
            line: Arc::clone(&self.line),
            cancel: exchange.cancel().clone(),
        });
        let desk = self.desk(&link)?;
        if !request.uses_directories() {
            let _alone = self.alone.write();
            desk.name_branch(&mut request)?;
            let asked = self.line.ask(&Call::Run { request }, &[])?;
            return talk::attend(asked, exchange);
        }
        let _beside_others = self.alone.read();
        // An owner that is to end waits for batches, so this one stands for the whole operation.
        let operation = link.begin()?;
        let outcome = desk.call(request, exchange);
        link.end(operation);
        outcome
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

#[cfg(test)]
mod tests;

//! Why a request failed, in the form that leaves the engine: a class, a message, and what to do.
//!
//! Owns the mapping from [`Error`] to classes and hints. A failure serialises, so a request that another process
//! ran fails with the same words and the same exit code as one that ran here.
//! Invariant: the message says what and where in one line; the hint, where there is one, says what to do.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The operation of an [`Error::Path`] about a store that is not there.
pub(super) const OPEN_STORE: &str = "open store";

/// What the caller can do next; the exit codes of the command line follow these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Class {
    /// None of the others.
    Failed,
    /// The request is malformed or refused for safety.
    Invalid,
    /// No such content, branch, tag, revision, path or store.
    NotFound,
    /// Something is not as the caller expected, or exists already.
    Conflict,
    /// Another process owns the store.
    InUse,
    /// No room.
    Full,
    /// A quota does not allow it.
    Quota,
    /// The store, or a part of it, is damaged or none.
    Damaged,
    /// Input or output failed outside the store's own checks.
    Io,
    /// The caller asked to stop.
    Cancelled,
    /// Too much is asked of the owner of the store at once; the same request may succeed a little later.
    Busy,
}

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What the caller can do next.
    pub class: Class,
    /// What failed, and where.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// When to try again, in milliseconds from now, where that is worth it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(class: Class, message: impl Into<String>) -> Failure {
        Failure {
            class,
            message: message.into(),
            hint: None,
            retry_after_ms: None,
        }
    }

    /// There is too much to do now.
    pub fn busy(message: impl Into<String>, retry_after_ms: u64) -> Failure {
        Failure {
            retry_after_ms: Some(retry_after_ms),
            ..Failure::new(Class::Busy, message)
        }
        .with_hint(format!("try again in {retry_after_ms} ms"))
    }

    /// The same failure with advice.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        Error::Owner {
            said: Box::new(failure),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        if let Error::Owner { said } = error {
            return match said.downcast::<Failure>() {
                Ok(failure) => *failure,
                Err(said) => Failure::new(Class::Failed, said.to_string()),
            };
        }
        let class = class(&error);
        let hint = hint(&error);
        let message = match &error {
            // These carry their advice in the sentence for library users; here it goes into the hint.
            Error::Full { device, needed, free } => {
                format!("{device} is full: {needed} bytes needed, {free} free")
            }
            Error::OverQuota {
                branch,
                prefix,
                limit,
                used,
                needed,
            } => format!(
                "branch {branch} may not store {needed} more bytes: branches that begin with `{prefix}` use {used} of {limit}"
            ),
            Error::DiskFull { device, needed, free } => format!(
                "the disk below {device} is full: {needed} bytes needed, {free} left in what the store already has"
            ),
            Error::Unreadable { count, list } => format!("{count} of the files can't be committed: {list}"),
            Error::InUse { store, pid } => format!("store {store} is in use by process {pid}"),
            Error::Unsupported { store, bits } => {
                format!(
                    "store {store} needs features this version does not know (incompatible bits {bits:#x})"
                )
            }
            Error::Incomplete { first, more: 0 } => format!("the answer would be incomplete: {first}"),
            Error::Incomplete { first, more } => {
                format!("the answer would be incomplete: {first}, and {more} more problems")
            }
            other => other.to_string(),
        };
        Failure {
            hint,
            ..Failure::new(class, message)
        }
    }
}

fn class(error: &Error) -> Class {
    match error {
        Error::Full { .. } | Error::DiskFull { .. } => Class::Full,
        Error::OverQuota { .. } => Class::Quota,
        Error::Damaged { .. }
        | Error::Inconsistent { .. }
        | Error::Incomplete { .. }
        | Error::NotAStore { .. } => Class::Damaged,
        Error::NotFound { .. } => Class::NotFound,
        Error::Ambiguous { .. } | Error::Invalid { .. } | Error::Refused { .. } => Class::Invalid,
        Error::Exists { .. } | Error::Conflict { .. } => Class::Conflict,
        Error::InUse { .. } => Class::InUse,
        Error::Unsupported { .. } | Error::ReadOnly { .. } | Error::Owner { .. } | Error::Closed => {
            Class::Failed
        }
        Error::Cancelled => Class::Cancelled,
        Error::Unreadable { .. } => Class::Io,
        Error::Path { source, .. } => match source.kind() {
            std::io::ErrorKind::NotFound => Class::NotFound,
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Class::Full,
            _ => Class::Io,
        },
        Error::Device { source, .. } | Error::Stream { source, .. } => match source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Class::Full,
            _ => Class::Io,
        },
        Error::Fenced { .. } => Class::Io,
    }
}

fn hint(error: &Error) -> Option<String> {
    let text = match error {
        Error::Full { .. } => "delete branches or tags, or use a larger store",
        Error::OverQuota { .. } => {
            "delete branches or `helios forget` old commits, then `helios quota --measure`; or raise it with `helios quota`"
        }
        Error::DiskFull { .. } => "free some space on the disk that holds the store",
        Error::Damaged { .. } | Error::Inconsistent { .. } => {
            "`helios check --read-data` lists everything that is damaged"
        }
        Error::Incomplete { .. } => "`helios check` lists everything that is missing or damaged",
        Error::Ambiguous { .. } => "give more digits of the id, or a branch or tag",
        Error::Conflict { .. } => "look at the new state (`helios log`), then try again on top of it",
        Error::InUse { .. } => "wait for it to finish, or stop it",
        Error::Unsupported { .. } => "use a newer helios",
        Error::Fenced { .. } => "check the device and its log, then `helios check`",
        Error::Unreadable { .. } => "make them readable, or leave them out with --exclude",
        Error::Path {
            operation: OPEN_STORE,
            source,
            ..
        } if source.kind() == std::io::ErrorKind::NotFound => {
            "create it with `helios init`, or name another with --store"
        }
        Error::Device { source, .. } | Error::Path { source, .. } => match source.kind() {
            std::io::ErrorKind::PermissionDenied => "check the permissions, or run as the owner of the path",
            std::io::ErrorKind::StorageFull => "free some space on that file system",
            std::io::ErrorKind::NotFound => "check the path",
            _ => return None,
        },
        _ => return None,
    };
    Some(text.to_owned())
}

//! One condition of driving a controller from user space: whether it holds, and what to do if not.

use std::io::{self, ErrorKind};

use serde::Serialize;

use super::PciAddress;

/// Whether a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It holds.
    Ok,
    /// It holds, at a price or not for everything.
    Warning,
    /// It does not.
    Missing,
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fix {
    /// The command for root to run.
    AsRoot(String),
    /// What no command does.
    Advice(String),
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// Which: `hugepages`, `hugetlbfs`, `memlock`, `iommu`, `module`; of a device `driver`, `group`, `access`, `use`.
    pub condition: &'static str,
    /// The device; none, if it is about the machine.
    pub device: Option<PciAddress>,
    /// Whether it holds.
    pub state: State,
    /// What there is.
    pub what: String,
    /// What to do.
    pub fix: Option<Fix>,
    /// As an error of opening.
    #[serde(skip)]
    pub(super) kind: ErrorKind,
}

impl Finding {
    pub(super) fn ok(condition: &'static str, what: impl Into<String>) -> Finding {
        Finding {
            condition,
            device: None,
            state: State::Ok,
            what: what.into(),
            fix: None,
            kind: ErrorKind::Other,
        }
    }

    pub(super) fn missing(
        condition: &'static str,
        kind: ErrorKind,
        what: impl Into<String>,
        fix: Fix,
    ) -> Finding {
        Finding {
            state: State::Missing,
            fix: Some(fix),
            kind,
            ..Finding::ok(condition, what)
        }
    }

    pub(super) fn warning(condition: &'static str, what: impl Into<String>, fix: Fix) -> Finding {
        Finding {
            state: State::Warning,
            ..Finding::missing(condition, ErrorKind::Other, what, fix)
        }
    }

    pub(super) fn of(self, device: PciAddress) -> Finding {
        Finding {
            device: Some(device),
            ..self
        }
    }

    /// The error of whoever needs it now.
    pub(super) fn demand(self) -> io::Result<()> {
        if self.state != State::Missing {
            return Ok(());
        }
        let text = match self.fix {
            Some(Fix::AsRoot(command)) => format!("{}; as root: `{command}`", self.what),
            Some(Fix::Advice(advice)) => format!("{}; {advice}", self.what),
            None => self.what,
        };
        Err(io::Error::new(self.kind, text))
    }
}

pub(super) fn as_root(command: impl Into<String>) -> Fix {
    Fix::AsRoot(command.into())
}

pub(super) fn advice(text: impl Into<String>) -> Fix {
    Fix::Advice(text.into())
}

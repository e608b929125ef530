//! Standard output: text or JSON, coloured or not, and what happens when nobody reads it any more.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use helios_engine::ops::{Class, Failure};
use serde::Serialize;

use super::args::{Color, Global};

/// Colours by meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// Ids.
    Id,
    /// What is new.
    Added,
    /// What is gone.
    Removed,
    /// What is different.
    Changed,
    /// Names of branches and directories.
    Name,
    /// Headings.
    Strong,
    /// What matters less.
    Faint,
}

impl Ink {
    fn code(self) -> &'static str {
        match self {
            Ink::Id => "\x1b[33m",
            Ink::Added => "\x1b[32m",
            Ink::Removed => "\x1b[31m",
            Ink::Changed => "\x1b[36m",
            Ink::Name => "\x1b[34;1m",
            Ink::Strong => "\x1b[1m",
            Ink::Faint => "\x1b[2m",
        }
    }
}

/// Standard output of one command.
pub struct Output {
    stdout: BufWriter<StdoutLock<'static>>,
    /// Replies are printed as JSON.
    pub json: bool,
    /// Only results are printed, no remarks.
    pub quiet: bool,
    color: bool,
    terminal: bool,
}

impl Output {
    /// For the process's standard output.
    pub fn new(global: &Global) -> Output {
        let stdout = io::stdout().lock();
        Output {
            color: wants_color(global.color, stdout.is_terminal()),
            terminal: stdout.is_terminal(),
            stdout: BufWriter::with_capacity(64 << 10, stdout),
            json: global.json,
            quiet: global.quiet,
        }
    }

    /// `text`, in colour where colours are wanted.
    pub fn ink(&self, ink: Ink, text: &str) -> String {
        if self.color {
            format!("{}{text}\x1b[0m", ink.code())
        } else {
            text.to_owned()
        }
    }

    /// Prints a line.
    pub fn line(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        self.stdout.write_all(text.as_ref().as_bytes())?;
        self.stdout.write_all(b"\n")
    }

    /// Prints a remark: a line that `--quiet` leaves out.
    pub fn remark(&mut self, text: impl AsRef<str>) -> io::Result<()> {
        if self.quiet { Ok(()) } else { self.line(text) }
    }

    /// Whether a terminal shows what is printed.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// For contents.
    pub fn writer(&mut self) -> &mut dyn Write {
        &mut self.stdout
    }

    /// Prints raw bytes.
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stdout.write_all(bytes)
    }

    /// Prints a reply as one line of JSON.
    pub fn json(&mut self, reply: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.stdout, reply)?;
        self.stdout.write_all(b"\n")
    }

    /// Hands everything to the system.
    pub fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }
}

/// Whether a stream takes colours, by the option and the conventions of `NO_COLOR` and `TERM`.
pub fn wants_color(choice: Color, terminal: bool) -> bool {
    match choice {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            terminal
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
                && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        }
    }
}

/// A failed write to standard output. `BrokenPipe` is recognised by [`is_broken_pipe`] and is no error.
pub fn failure(error: &io::Error) -> Failure {
    Failure::new(Class::Io, format!("write standard output: {error}"))
}

/// The reader of our output has gone, as `head` does: there is nothing left to do and nothing to report.
pub fn is_broken_pipe(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::BrokenPipe
}

//! The command line: turns arguments into requests, runs them, renders the replies, chooses the exit code.
//!
//! Owns everything that depends on the user's surroundings: environment, terminal, working directory, signals.
//! Invariants: results go to standard output and nothing else does; everything else goes to standard error; a
//! failure is one line that says what and where, and one that says what to do. Exit codes are in [`exit`]; defaults for options
//! come from a file, [`config`].
//! Rejected: letting commands call the engine's layers; then a server would have to be taught each of them. `device` does,
//! because it is about the machine and not about a store.

pub mod args;
mod commands;
pub mod config;
pub mod exit;
mod interrupt;
mod logging;
mod output;
mod place;
mod quote;
mod session;
mod size;
mod terminal;
mod time;
mod top;

use std::io::{self, Write};
use std::process::ExitCode;

use helios_engine::ops::{Cancel, Failure};

use config::Refused;
use exit::Exit;
use session::{Session, Stop};

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
    let cli = match config::parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(Refused::File { failure, json }) => {
            report(&failure, json);
            return Exit::from(failure.class).into();
        }
        Err(Refused::Arguments(error)) => {
            // Help and version come this way too, with code 0. A closed standard output is no error.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage.into()
            } else {
                Exit::Success.into()
            };
        }
    };
    logging::install(&cli.global);
    let cancel = Cancel::default();
    if let Err(error) = interrupt::install(&cancel) {
        tracing::warn!("ctrl-C ends the program without asking operations to stop: {error}");
    }
    let json = cli.global.json;
    let mut session = Session::new(cli.global, cancel);
    let outcome = commands::run(cli.command, &mut session);
    let outcome = match outcome {
        Ok(exit) => session.finish().map(|()| exit),
        Err(stop) => {
            // What was printed before the failure is still worth reading.
            let _ = session.finish();
            Err(stop)
        }
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(Stop::Unread) => Exit::Success.into(),
        Err(Stop::Failed(failure)) => {
            report(&failure, json);
            Exit::from(failure.class).into()
        }
    }
}

fn report(failure: &Failure, json: bool) {
    let mut stderr = io::stderr().lock();
    // With standard error gone there is nobody left to tell; the exit code still does.
    let _ = if json {
        let error = serde_json::json!({ "error": failure });
        writeln!(stderr, "{error}")
    } else {
        writeln!(stderr, "helios: {}", failure.message).and_then(|()| match &failure.hint {
            Some(hint) => writeln!(stderr, "hint: {hint}"),
            None => Ok(()),
        })
    };
}

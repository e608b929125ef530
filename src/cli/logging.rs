//! What the engine says of its inner life, on standard error: `-v`, `-vv`, `-vvv`, or `HELIOS_LOG`.
//!
//! Text is for a terminal or a journal, which know the time; JSON is for programs and says it.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use super::args::{Global, LogFormat};
use super::output::wants_color;

/// Starts logging. Called once per process.
pub fn install(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (_, 0) => "warn",
        (_, 1) => "info",
        (_, 2) => "debug",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_env("HELIOS_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr);
    let started = match global.log_format {
        LogFormat::Text => log
            .with_ansi(wants_color(global.color, io::stderr().is_terminal()))
            .with_target(global.verbose > 1)
            .without_time()
            .try_init(),
        LogFormat::Json => log.json().flatten_event(true).with_ansi(false).try_init(),
    };
    // A second call keeps the first subscriber, which is as good.
    drop(started);
}

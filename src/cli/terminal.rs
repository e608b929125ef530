//! The command line's end of a running request: progress on a terminal, warnings, and the bytes of contents.
//!
//! A progress line appears when an operation has taken a second, on standard error, and only there: never in a
//! pipe, a file or a log.

use std::io::{self, IsTerminal, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use helios_engine::ops::{Cancel, Exchange, Reporter, Step, Warning};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::quote;

/// Operations shorter than this show no progress.
const PATIENCE: Duration = Duration::from_secs(1);
/// Warnings printed as they come; the rest is counted, and all are in the JSON reply.
const WARNINGS_SHOWN: u64 = 20;

/// One request's surroundings.
pub struct Terminal<'a> {
    cancel: Cancel,
    meter: Option<Meter>,
    input: Option<&'a mut dyn Read>,
    output: Option<&'a mut dyn Write>,
    warnings: Option<u64>,
    /// Our own standard output has lost its reader.
    pub unread: bool,
}

impl<'a> Terminal<'a> {
    /// For a request that moves no bytes.
    pub fn new(cancel: Cancel, quiet: bool) -> Terminal<'a> {
        Terminal {
            cancel,
            meter: (!quiet && io::stderr().is_terminal()).then(Meter::new),
            input: None,
            output: None,
            warnings: (!quiet).then_some(0),
            unread: false,
        }
    }

    /// Contents are read from `input`.
    pub fn reading(mut self, input: &'a mut dyn Read) -> Terminal<'a> {
        self.input = Some(input);
        self
    }

    /// Contents are written to `output`. `shared` says that progress would be drawn over it.
    pub fn writing(mut self, output: &'a mut dyn Write, shared: bool) -> Terminal<'a> {
        self.output = Some(output);
        if shared {
            self.meter = None;
        }
        self
    }

    fn say(&self, line: &str) {
        let print = || {
            // With standard error gone there is nobody to warn.
            let _ = writeln!(io::stderr().lock(), "{line}");
        };
        match &self.meter {
            Some(meter) => meter.bar.suspend(print),
            None => print(),
        }
    }
}

impl Exchange for Terminal<'_> {
    fn reporter(&self) -> Reporter {
        match &self.meter {
            Some(meter) => {
                let meter = meter.clone();
                Arc::new(move |step| meter.show(step))
            }
            None => Arc::new(|_| {}),
        }
    }

    fn warn(&mut self, warning: &Warning) {
        let Some(count) = &mut self.warnings else { return };
        *count += 1;
        match (*count).cmp(&(WARNINGS_SHOWN + 1)) {
            std::cmp::Ordering::Less => {
                let line = format!(
                    "warning: {}: {}",
                    quote::name(warning.path.as_bytes()),
                    warning.message
                );
                self.say(&line);
            }
            std::cmp::Ordering::Equal => self.say("warning: more follow; --json lists them"),
            std::cmp::Ordering::Greater => {}
        }
    }

    fn output(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(output) = &mut self.output else {
            return Ok(());
        };
        let written = output.write_all(bytes);
        if let Err(error) = &written {
            self.unread = super::output::is_broken_pipe(error);
        }
        written
    }

    fn input(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.input {
            Some(input) => input.read(buffer),
            None => Ok(0),
        }
    }

    fn cancel(&self) -> &Cancel {
        &self.cancel
    }
}

/// A progress line that stays away from short operations.
#[derive(Clone)]
struct Meter {
    bar: ProgressBar,
}

impl Meter {
    fn new() -> Meter {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        bar.set_style(ProgressStyle::default_spinner());
        Meter { bar }
    }

    fn show(&self, step: Step) {
        if self.bar.elapsed() < PATIENCE {
            return;
        }
        if self.bar.is_hidden() {
            self.bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(10));
        }
        // Bytes say most where they are known, items otherwise.
        let (position, total, form) = match (step.bytes_total, step.items_total) {
            (Some(total), _) if total > 0 => (
                step.bytes,
                Some(total),
                "{msg:10} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} eta {eta}",
            ),
            (_, Some(total)) if total > 0 => (
                step.items,
                Some(total),
                "{msg:10} [{bar:30}] {human_pos}/{human_len} eta {eta}",
            ),
            _ if step.items > 0 => (step.items, None, "{msg:10} {spinner} {human_pos}"),
            _ => (step.bytes, None, "{msg:10} {spinner} {bytes} {bytes_per_sec}"),
        };
        if self.bar.message() != step.stage.label() {
            self.bar.set_message(step.stage.label());
        }
        if let Ok(style) = ProgressStyle::with_template(form) {
            self.bar.set_style(style.progress_chars("=> "));
        }
        match total {
            Some(total) => self.bar.set_length(total),
            None => self.bar.unset_length(),
        }
        self.bar.set_position(position);
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        if let Some(meter) = &self.meter {
            meter.bar.finish_and_clear();
        }
    }
}

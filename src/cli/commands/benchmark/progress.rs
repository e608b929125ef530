//! How far the benchmark is, on standard error, where that is a terminal.

use std::cell::Cell;
use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const PARTS: f64 = 1000.0;
const TICK: Duration = Duration::from_millis(100);

/// Parts of the whole come one after the other; each says how much of itself is done.
pub struct Progress {
    bar: ProgressBar,
    /// What is done before the present part, and what the present part is of the whole.
    part: Cell<(f64, f64)>,
}

impl Progress {
    pub fn new(quiet: bool) -> Progress {
        let bar = if !quiet && io::stderr().is_terminal() {
            ProgressBar::with_draw_target(Some(PARTS as u64), ProgressDrawTarget::stderr_with_hz(10))
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template("{msg:28} [{bar:30}] {elapsed}") {
            bar.set_style(style.progress_chars("=> "));
        }
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Progress {
            bar,
            part: Cell::new((0.0, 0.0)),
        }
    }

    /// The next part, which is so much of the whole.
    pub fn begin(&self, name: &'static str, part: f64) {
        let (before, last) = self.part.get();
        self.part.set((before + last, part));
        self.bar.set_message(name);
        self.at(0.0);
    }

    /// So much of the present part is done.
    pub fn at(&self, done: f64) {
        let (before, part) = self.part.get();
        self.bar
            .set_position(((before + part * done.clamp(0.0, 1.0)) * PARTS) as u64);
    }

    pub fn end(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

//! `top`: watches the owner of the store.

use std::time::Duration;

use helios_engine::ops::{Class, Failure};

use crate::cli::args::TopArgs;
use crate::cli::exit::Exit;
use crate::cli::output::{self, Output};
use crate::cli::session::{Session, Stop};
use crate::cli::top::figures::{Figures, Sample};
use crate::cli::top::frame::{Line, Size, frame};
use crate::cli::top::sampler::Sampler;
use crate::cli::top::screen::{self, Key, Screen};

/// Time between two looks at keys, the size of the terminal and the wish to stop.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Width of what is printed where there is no terminal.
const COLUMNS: usize = 100;

pub fn top(session: &mut Session, args: &TopArgs) -> Result<Exit, Stop> {
    let sampler = Sampler::start(session.store_address()?, Duration::from_nanos(args.interval))?;
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
    let out = &session.output;
    if out.json || args.once || !out.is_terminal() || is_dumb {
        // A frame for no terminal is one; lines of JSON go on.
        let count = match (args.count, args.once || !out.json) {
            (None, false) => u64::MAX,
            (count, _) => count.unwrap_or(1),
        };
        print(session, &sampler, count)
    } else {
        show(session, &sampler, args.count.unwrap_or(u64::MAX))
    }
}

/// Prints frames or lines of JSON, one behind the other.
fn print(session: &mut Session, sampler: &Sampler, count: u64) -> Result<Exit, Stop> {
    let cancel = session.cancel();
    let out = &mut session.output;
    let size = Size {
        columns: screen::size().map_or(COLUMNS, |size| size.columns),
        rows: usize::MAX,
    };
    let mut earlier: Option<Sample> = None;
    let mut printed = 0;
    while printed < count {
        if cancel.is_cancelled() {
            return Err(Failure::new(Class::Cancelled, "stopped").into());
        }
        let Some(look) = sampler.next_within(LOOK_EVERY) else {
            continue;
        };
        let look = look?;
        // The first sample is what the second is compared with.
        if let Some(earlier) = earlier.filter(|_| !look.is_first) {
            let figures = Figures::between(Some(&earlier), &look.sample);
            if out.json {
                out.json(&figures)?;
            } else {
                for line in frame(&figures, None, size) {
                    let line = paint(out, &line);
                    out.line(line.trim_end())?;
                }
            }
            out.flush()?;
            printed += 1;
        }
        earlier = Some(look.sample);
    }
    Ok(Exit::Success)
}

/// Shows frames on a terminal until somebody has seen enough. An owner that goes is waited for.
fn show(session: &mut Session, sampler: &Sampler, count: u64) -> Result<Exit, Stop> {
    let cancel = session.cancel();
    // Before the screen is taken: what is wrong from the beginning belongs on the one before.
    let first = loop {
        if cancel.is_cancelled() {
            return Ok(Exit::Success);
        }
        if let Some(look) = sampler.next_within(LOOK_EVERY) {
            break look?.sample;
        }
    };
    let failed = |error: std::io::Error| Stop::from(output::failure(&error));
    let screen = Screen::enter().map_err(failed)?;
    let mut figures = Figures::between(None, &first);
    let mut earlier = Some(first);
    let mut note: Option<String> = None;
    let mut drawn: Option<Size> = None;
    let mut seen = 0;
    while seen < count && !cancel.is_cancelled() && screen.key() != Some(Key::Quit) {
        let size = screen.size();
        if drawn != Some(size) {
            let lines = frame(&figures, note.as_deref(), size);
            let out = &session.output;
            screen.draw(&lines, |line| paint(out, line)).map_err(failed)?;
            drawn = Some(size);
        }
        match sampler.next_within(LOOK_EVERY) {
            None => continue,
            Some(Ok(look)) => {
                let before = earlier.as_ref().filter(|_| !look.is_first);
                figures = Figures::between(before, &look.sample);
                earlier = Some(look.sample);
                note = None;
                seen += 1;
            }
            Some(Err(failure)) => note = Some(format!("{}; waiting for it", failure.message)),
        }
        drawn = None;
    }
    Ok(Exit::Success)
}

/// A line in colour, where colours are wanted.
fn paint(out: &Output, line: &Line) -> String {
    line.iter()
        .map(|(ink, text)| match ink {
            Some(ink) => out.ink(*ink, text),
            None => text.clone(),
        })
        .collect()
}

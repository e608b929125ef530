//! Figures as lines of text, for a place of some size.
//!
//! Invariant: no line is longer than the place is wide, and there are no more of them than it is high; what matters most is
//! highest up. Texts that come from elsewhere cannot move the cursor.

use crate::cli::output::Ink;
use crate::cli::quote;
use crate::cli::size::{count, show};

use super::figures::{Figures, Latency};

/// A piece of a line, and its colour.
pub type Piece = (Option<Ink>, String);
/// A line.
pub type Line = Vec<Piece>;

/// Where a frame is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Letters in a line.
    pub columns: usize,
    /// Lines.
    pub rows: usize,
}

/// Longest bar, without its ends.
const BAR_MAX: usize = 40;
/// Reasons shown; `helios info` and the endpoint have all of them.
const REASONS_MAX: usize = 4;
/// From this part on a bar is full, as far as people are concerned.
const NEARLY: f64 = 0.95;

/// The lines of a frame. `note` is what else is to be said, above all.
pub fn frame(figures: &Figures, note: Option<&str>, size: Size) -> Vec<Line> {
    let mut lines = vec![title(figures)];
    lines.extend(note.map(|note| vec![(Some(Ink::Removed), note.to_owned())]));
    lines.extend(health(figures));
    lines.push(Line::new());
    lines.extend(summary(figures, size.columns));
    let left = size.rows.saturating_sub(lines.len());
    // Calls get half of what is left, or what the reactors leave.
    let calls = calls(figures);
    let reactors_max = left
        .saturating_sub((calls.len() + 1).min(left / 2))
        .saturating_sub(1);
    lines.push(Line::new());
    lines.extend(reactors(figures, size.columns, reactors_max));
    lines.push(Line::new());
    lines.extend(calls);
    lines.truncate(size.rows);
    lines.into_iter().map(|line| cut(line, size.columns)).collect()
}

/// As much of a line as there is room for.
fn cut(line: Line, columns: usize) -> Line {
    let mut left = columns;
    let mut out = Line::new();
    for (ink, text) in line {
        let text: String = text.chars().take(left).collect();
        left -= text.chars().count();
        if !text.is_empty() {
            out.push((ink, text));
        }
    }
    out
}

fn plain(text: impl Into<String>) -> Piece {
    (None, text.into())
}

fn faint(text: impl Into<String>) -> Piece {
    (Some(Ink::Faint), text.into())
}

/// A line of the summary: its name, and figures with what they are.
fn row(name: &str, figures: &[(String, &str)]) -> Line {
    let mut line = vec![(Some(Ink::Name), format!("{name:<11}"))];
    for (value, what) in figures {
        line.push(plain(format!("{value:>9}")));
        line.push(faint(format!(" {what:<10} ")));
    }
    line
}

fn title(figures: &Figures) -> Line {
    vec![
        (Some(Ink::Strong), "helios ".to_owned()),
        plain(quote::name(figures.store.as_bytes())),
        faint(format!(
            "  up {}, clients {}, working trees {}; last {}",
            span(figures.uptime_s),
            whole(figures.clients),
            whole(figures.working_trees),
            span(figures.interval_s)
        )),
    ]
}

fn health(figures: &Figures) -> Vec<Line> {
    let health = &figures.health;
    let (ink, word) = match (health.live, health.ready, health.degraded) {
        (false, ..) => (Ink::Removed, "not live"),
        (_, false, _) => (Ink::Removed, "not ready"),
        (_, _, true) => (Ink::Id, "degraded"),
        _ => (Ink::Added, "healthy"),
    };
    let mut lines = vec![vec![(Some(ink), word.to_owned())]];
    for reason in health.reasons.iter().take(REASONS_MAX) {
        lines.push(vec![
            (
                Some(ink),
                format!("  {}: ", quote::name(reason.reason.as_bytes())),
            ),
            plain(quote::name(reason.message.as_bytes())),
        ]);
    }
    if let Some(more) = health.reasons.len().checked_sub(REASONS_MAX + 1) {
        lines.push(vec![faint(format!("  and {} more", more + 1))]);
    }
    lines
}

fn summary(figures: &Figures, columns: usize) -> Vec<Line> {
    let part = |part: Option<f64>| part.map_or("-".to_owned(), |part| format!("{:.1} %", part * 100.0));
    let commits = |name, latency: &Latency| {
        row(
            name,
            &[
                (rate(latency.per_s), "/s"),
                (time(latency.p50_s), "p50"),
                (time(latency.p99_s), "p99"),
            ],
        )
    };
    let used = if figures.capacity_bytes > 0.0 {
        figures.used_bytes / figures.capacity_bytes
    } else {
        0.0
    };
    let mut space = row("space", &[]);
    space.extend(bar(used, columns));
    space.push(plain(format!(
        " {:.1} %, {} of {} used, {} free",
        used * 100.0,
        bytes(figures.used_bytes),
        bytes(figures.capacity_bytes),
        bytes(figures.free_bytes)
    )));
    vec![
        row(
            "calls",
            &[
                (rate(figures.calls_per_s), "/s"),
                (whole(figures.calls_in_progress), "under way"),
                (rate(figures.refused_busy_per_s), "refused/s"),
            ],
        ),
        row(
            "requests",
            &[
                (whole(figures.requests_waiting), "waiting"),
                (whole(figures.workers_busy), "running"),
                (whole(figures.workers), "threads"),
            ],
        ),
        row(
            "bytes",
            &[
                (bytes(figures.received_bytes_per_s), "/s in"),
                (bytes(figures.sent_bytes_per_s), "/s out"),
                (bytes(figures.pending_bytes), "pending"),
            ],
        ),
        commits("visible", &figures.commits_visible),
        commits("durable", &figures.commits_durable),
        row(
            "cache",
            &[
                (part(figures.cache_hit_rate), "hits"),
                (bytes(figures.cache_bytes), "in use"),
                (bytes(figures.cache_capacity_bytes), "at most"),
            ],
        ),
        row(
            "memory",
            &[
                (bytes(figures.resident_bytes), "in all"),
                (bytes(figures.index_bytes), "index"),
                (
                    figures
                        .dedup_ratio
                        .map_or("-".to_owned(), |ratio| format!("{ratio:.2}")),
                    "dedup",
                ),
            ],
        ),
        space,
    ]
}

fn reactors(figures: &Figures, columns: usize, lines_max: usize) -> Vec<Line> {
    let all = figures.reactors.len();
    let shown = if all <= lines_max {
        all
    } else {
        lines_max.saturating_sub(1)
    };
    let mut lines: Vec<Line> = figures.reactors[..shown]
        .iter()
        .map(|reactor| {
            let mut line = vec![(
                Some(Ink::Name),
                format!("{:<11}", format!("reactor {}", reactor.reactor)),
            )];
            line.extend(bar(reactor.utilisation, columns));
            line.push(plain(format!(
                " {:>5.1} %, queue {}, tasks {}",
                reactor.utilisation * 100.0,
                whole(reactor.queue_depth),
                whole(reactor.tasks)
            )));
            line
        })
        .collect();
    if shown < all {
        let rest = &figures.reactors[shown..];
        let mean = rest.iter().map(|reactor| reactor.utilisation).sum::<f64>() / rest.len() as f64;
        lines.push(vec![faint(format!(
            "and {} more, {:.1} % on average",
            rest.len(),
            mean * 100.0
        ))]);
    }
    lines
}

fn calls(figures: &Figures) -> Vec<Line> {
    let heading = format!(
        "{:<14}{:>10}{:>11}{:>11}{:>11}",
        "call", "per s", "p50", "p99", "failed/s"
    );
    let mut lines = vec![vec![(Some(Ink::Strong), heading)]];
    for calls in &figures.calls {
        let failed = (calls.failed_per_s > 0.0).then_some(Ink::Removed);
        lines.push(vec![
            (
                Some(Ink::Name),
                format!("{:<14}", quote::name(calls.call.as_bytes())),
            ),
            plain(format!(
                "{:>10}{:>11}{:>11}",
                rate(calls.latency.per_s),
                time(calls.latency.p50_s),
                time(calls.latency.p99_s)
            )),
            (failed, format!("{:>11}", rate(calls.failed_per_s))),
        ]);
    }
    lines
}

/// `[#####.....]`, for a part from 0 to 1.
fn bar(part: f64, columns: usize) -> Line {
    let length = (columns / 3).clamp(4, BAR_MAX);
    let part = part.clamp(0.0, 1.0);
    let full = (1..=length)
        .take_while(|cell| part * length as f64 + 0.5 >= *cell as f64)
        .count();
    let ink = if part >= NEARLY { Ink::Removed } else { Ink::Added };
    vec![
        plain("["),
        (Some(ink), "#".repeat(full)),
        faint(".".repeat(length - full)),
        plain("]"),
    ]
}

/// A gauge of things.
fn whole(number: f64) -> String {
    // Saturates, and there are no negative ones.
    count(number as u64)
}

fn bytes(number: f64) -> String {
    show(number as u64)
}

/// `0`, `0.5`, `12`, `12,345`.
fn rate(per_s: f64) -> String {
    match per_s {
        none if none <= 0.0 => "0".to_owned(),
        few if few < 9.95 => format!("{few:.1}"),
        many => count(many.round() as u64),
    }
}

/// `12 us`, `1.2 ms`, `3.4 s`.
fn time(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else {
        return "-".to_owned();
    };
    let (value, unit) = match seconds {
        small if small < 0.000_999_5 => (small * 1e6, "us"),
        middle if middle < 0.999_5 => (middle * 1e3, "ms"),
        large => (large, "s"),
    };
    if value < 9.95 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

/// `0.5 s`, `12 s`, `3 min 04 s`, `5 h 06 min`, `7 d 08 h`.
fn span(seconds: f64) -> String {
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds as u64;
    match whole {
        ..60 => format!("{whole} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
        _ => format!("{} d {:02} h", whole / 86_400, whole / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::figures::{Calls, Reactor};
    use crate::wire::message::{Health, Reason};

    fn figures(reactors: u64, calls: usize) -> Figures {
        Figures {
            store: "/data/store\x1b[2J".into(),
            uptime_s: 93_784.0,
            interval_s: 1.0,
            health: Health {
                live: true,
                ready: true,
                degraded: true,
                reasons: vec![Reason {
                    reason: "nearly_full".into(),
                    message: "little\nroom".into(),
                }],
            },
            clients: 12.0,
            calls_per_s: 12_345.6,
            calls: (0..calls)
                .map(|number| Calls {
                    call: format!("call{number}"),
                    latency: Latency {
                        per_s: 3.0,
                        p50_s: Some(0.000_012),
                        p99_s: Some(1.5),
                    },
                    failed_per_s: 0.5,
                })
                .collect(),
            reactors: (0..reactors)
                .map(|reactor| Reactor {
                    reactor,
                    utilisation: 0.5,
                    queue_depth: 3.0,
                    tasks: 4.0,
                })
                .collect(),
            capacity_bytes: 1024.0 * 1024.0,
            used_bytes: 256.0 * 1024.0,
            cache_hit_rate: Some(0.987),
            ..Figures::default()
        }
    }

    fn texts(figures: &Figures, columns: usize, rows: usize) -> Vec<String> {
        let lines = frame(figures, None, Size { columns, rows });
        let text = |line: Line| line.into_iter().map(|(_, text)| text).collect();
        lines.into_iter().map(text).collect()
    }

    /// Goal: what a server does is all there, with units. Method: a frame with room for everything.
    #[test]
    fn a_frame_shows_everything() {
        let lines = texts(&figures(2, 1), 100, usize::MAX);
        let page = lines.join("\n");
        for words in [
            "up 1 d 02 h, clients 12",
            "degraded",
            "nearly_full: \"little\\nroom\"",
            "12,346 /s",
            "98.7 % hits",
            "25.0 %, 256 KiB of 1.00 MiB used",
            "[########.........................]",
            "reactor 1",
            "50.0 %, queue 3, tasks 4",
            "call0",
            "12 us",
            "1.5 s",
        ] {
            assert!(page.contains(words), "{words} is not in\n{page}");
        }
        assert!(!page.contains('\x1b'), "{page}");
    }

    /// Goal: a frame fits wherever it is shown, and what matters most is in it longest. Method: every small size, with more
    /// reactors and calls than there is room for.
    #[test]
    fn a_frame_fits_its_place() {
        let figures = figures(64, 30);
        for columns in [0, 1, 10, 40, 79, 200] {
            for rows in 0..60 {
                let lines = texts(&figures, columns, rows);
                assert!(lines.len() <= rows);
                let is_narrow = |line: &String| line.chars().count() <= columns;
                assert!(lines.iter().all(is_narrow), "{columns} x {rows}: {lines:?}");
                if rows > 0 && columns >= 79 {
                    assert!(lines[0].starts_with("helios "));
                }
                if rows >= 30 && columns >= 79 {
                    let page = lines.join("\n");
                    assert!(page.contains("reactor 0") && page.contains("call0"), "{page}");
                    assert!(page.contains("more, 50.0 % on average"), "{page}");
                }
            }
        }
    }

    /// Goal: a note is seen, whatever else there is.
    #[test]
    fn a_note_comes_first() {
        let size = Size { columns: 80, rows: 2 };
        let lines = frame(&figures(1, 1), Some("the owner is gone"), size);
        assert_eq!(lines[1][0].1, "the owner is gone");
    }

    /// Goal: figures are short and have the unit that fits.
    #[test]
    fn figures_are_short() {
        assert_eq!(
            [0.0, 0.04, 9.9, 9.96, 1234.5].map(rate),
            ["0", "0.0", "9.9", "10", "1,235"]
        );
        let times = [0.0, 0.000_009_94, 0.000_999_4, 0.000_999_6, 0.999_4, 0.9996, 60.0];
        assert_eq!(
            times.map(|seconds| time(Some(seconds))),
            ["0.0 us", "9.9 us", "999 us", "1.0 ms", "999 ms", "1.0 s", "60 s"]
        );
        assert_eq!(time(None), "-");
        let spans = [0.0, 9.94, 10.0, 61.0, 3661.0, 90_000.0];
        assert_eq!(
            spans.map(span),
            ["0.0 s", "9.9 s", "10 s", "1 min 01 s", "1 h 01 min", "1 d 01 h"]
        );
        let bars: Vec<String> = [0.0, 0.5, 1.0, 7.0, f64::NAN]
            .into_iter()
            .map(|part| bar(part, 12).into_iter().map(|(_, text)| text).collect())
            .collect();
        assert_eq!(bars, ["[....]", "[##..]", "[####]", "[####]", "[....]"]);
    }
}

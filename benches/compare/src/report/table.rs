//! The report as lines for a terminal.

use std::fmt::Write;

use super::Report;
use super::row::{Result, Role, Row};
use crate::measure::Scale;
use crate::measure::machine::Machine;

/// What everything was measured on.
pub fn heading(machine: &Machine, scale: &Scale) -> String {
    let mut text = format!(
        "machine: {}\nfile system: {}\ndevice: {}\npage cache: {}\nbuilt: {}\n{} rounds, subjects in turns, seed {}\n",
        machine.summary,
        machine.file_system,
        machine.device,
        machine.page_cache,
        machine.built,
        scale.repetitions,
        scale.seed
    );
    if scale.quick {
        text += "QUICK: sizes of a smoke test, these figures mean nothing\n";
    }
    text += "versions:";
    for (name, version) in &machine.versions {
        let _ = write!(text, " {name}: {version};");
    }
    text.trim_end_matches(';').to_owned()
}

/// All rows of a workload, case by case.
pub fn rows(rows: &[Row]) -> String {
    let mut text = String::new();
    let mut shown: Vec<&Row> = Vec::new();
    for first in rows {
        if shown.iter().any(|row| same_part(row, first)) {
            continue;
        }
        shown.push(first);
        let _ = writeln!(
            text,
            "\n  {}; {}; {}",
            first.case,
            first.class.name(),
            first.quantity
        );
        let _ = writeln!(
            text,
            "    {:<34} {:>11} {:>11} {:>11} {:>7} {:>9} {:>12} {:>11}",
            "", "median", "P95", "P99", "spread", "samples", "to best peer", "of ceiling"
        );
        for row in rows.iter().filter(|row| same_part(row, first)) {
            text += &line(row);
        }
    }
    text
}

fn same_part(one: &Row, other: &Row) -> bool {
    (&one.workload, &one.case, one.class, &one.quantity)
        == (&other.workload, &other.case, other.class, &other.quantity)
}

fn line(row: &Row) -> String {
    let name = match row.role {
        Role::Helios => format!("> {}", row.subject),
        Role::Peer => format!("  {}", row.subject),
        Role::Ceiling => format!("^ {}", row.subject),
    };
    let note = if row.note.is_empty() {
        String::new()
    } else {
        format!("  ({})", row.note)
    };
    let (Result::Measured(figures), Some(unit)) = (&row.result, row.unit) else {
        return format!("    {name:<34} {}{note}\n", row.result);
    };
    let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), show_ratio);
    let part = row
        .of_ceiling
        .map_or_else(|| "-".to_owned(), |part| format!("{:.1} %", part * 100.0));
    format!(
        "    {name:<34} {:>11} {:>11} {:>11} {:>5.0} % {:>9} {:>12} {:>11}{note}\n",
        unit.show(figures.median),
        unit.show(figures.p95),
        unit.show(figures.p99),
        figures.spread * 100.0,
        figures.samples,
        ratio(row.times_best_peer),
        part
    )
}

/// `3.2x`, with as many digits as it deserves.
pub fn show_ratio(ratio: f64) -> String {
    if ratio >= 100.0 {
        format!("{ratio:.0}x")
    } else {
        format!("{ratio:.2}x")
    }
}

/// The goals, met or missed.
pub fn goals(report: &Report) -> String {
    let mut text = format!("\nload at the end: {}\n", report.machine.load_at_end);
    if report.goals.is_empty() {
        return text;
    }
    text += "\ngoals\n";
    for goal in &report.goals {
        let _ = writeln!(text, "  {:<12} {}: {}", goal.word(), goal.goal, goal.found);
    }
    let count = |met: Option<bool>| report.goals.iter().filter(|goal| goal.met == met).count();
    let _ = writeln!(
        text,
        "  {} met, {} missed, {} not measured",
        count(Some(true)),
        count(Some(false)),
        count(None)
    );
    if report.quick {
        text += "  QUICK: met and missed mean nothing at these sizes\n";
    }
    text
}

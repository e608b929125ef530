//! The report as one page of HTML that needs nothing else: style and plots are in it, and nothing runs.

use std::fmt::Write;

use super::row::{Result, Role, Row};
use super::table::show_ratio;
use super::{Report, plots};
use crate::measure::Outcome;

const STYLE: &str = "
body { font: 15px/1.45 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; color: #222; }
table { border-collapse: collapse; margin: .6em 0 1.4em; font-size: 13px; width: 100%; }
th, td { padding: .2em .6em; text-align: right; border-bottom: 1px solid #ddd; vertical-align: top; }
th:first-child, td:first-child, td.note, th.note { text-align: left; }
td.note { color: #666; max-width: 22em; }
tr.helios { font-weight: 600; background: #fdf1e8; } tr.ceiling { color: #777; }
.failed, .missed { color: #b00020; font-weight: 600; } .skipped { color: #888; } .met { color: #18794e; font-weight: 600; }
h3 { margin-bottom: .2em; } .hint { color: #666; font-size: 13px; } svg { max-width: 100%; height: auto; }
";

/// The whole page.
pub fn page(report: &Report) -> Outcome<String> {
    let mut page = String::new();
    write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Helios compared</title>\
         <style>{STYLE}</style></head><body>\n<h1>Helios compared</h1>\n"
    )?;
    if report.quick {
        page += "<p class=\"failed\">Sizes of a smoke test: these figures mean nothing.</p>\n";
    }
    machine(&mut page, report)?;
    goals(&mut page, report)?;
    page += "<p class=\"hint\">Bars are medians, lines end at P95. Orange: Helios, blue: peers, grey: ceilings. Of a rate, \
             the P95 is what 95 % of the samples reached. \u{201c}To best peer\u{201d} is how many times better than the best \
             other peer; below 1: worse. Nothing is compared across acknowledgement classes. Spread: highest less lowest \
             median of the rounds, of the median.</p>\n";
    let mut workload = "";
    let mut shown: Vec<&Row> = Vec::new();
    for first in &report.rows {
        if first.workload != workload {
            workload = &first.workload;
            writeln!(page, "<h2>{}</h2>", escaped(workload))?;
        }
        if shown.iter().any(|row| same_part(row, first)) {
            continue;
        }
        shown.push(first);
        let rows: Vec<&Row> = report.rows.iter().filter(|row| same_part(row, first)).collect();
        part(&mut page, first, &rows)?;
    }
    page += "</body></html>\n";
    Ok(page)
}

fn same_part(one: &Row, other: &Row) -> bool {
    (&one.workload, &one.case, one.class, &one.quantity)
        == (&other.workload, &other.case, other.class, &other.quantity)
}

fn machine(page: &mut String, report: &Report) -> Outcome {
    let machine = &report.machine;
    let rounds = format!("{}, subjects in turns, seed {}", report.repetitions, report.seed);
    let facts = [
        ("Machine", machine.summary.as_str()),
        ("Load at the end", &machine.load_at_end),
        ("File system", &machine.file_system),
        ("Device", &machine.device),
        ("Page cache", &machine.page_cache),
        ("Built", &machine.built),
        ("Rounds", &rounds),
    ];
    let versions = machine.versions.iter();
    let versions = versions.map(|(name, version)| (name.as_str(), version.as_str()));
    *page += "<table>\n";
    for (name, value) in facts.into_iter().chain(versions) {
        let (name, value) = (escaped(name), escaped(value));
        writeln!(page, "<tr><td>{name}</td><td class=\"note\">{value}</td></tr>")?;
    }
    *page += "</table>\n";
    Ok(())
}

fn goals(page: &mut String, report: &Report) -> Outcome {
    if report.goals.is_empty() {
        return Ok(());
    }
    *page += "<h2>Goals</h2>\n<table>\n";
    for goal in &report.goals {
        let class = match goal.met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "skipped",
        };
        writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td class=\"{class}\">{}</td></tr>",
            escaped(&goal.goal),
            escaped(&goal.found),
            goal.word()
        )?;
    }
    *page += "</table>\n";
    Ok(())
}

fn part(page: &mut String, first: &Row, rows: &[&Row]) -> Outcome {
    let title = format!("{}; {}; {}", first.case, first.class.name(), first.quantity);
    writeln!(page, "<h3>{}</h3>", escaped(&title))?;
    let measured: Vec<&Row> = rows
        .iter()
        .copied()
        .filter(|row| row.figures().is_some())
        .collect();
    if let Some(unit) = first.unit.filter(|_| !measured.is_empty()) {
        page.push_str(&plots::bars(&measured, unit)?);
        if plots::is_logarithmic(&measured) {
            page.push_str("<p class=\"hint\">Lengths are logarithmic.</p>");
        }
    }
    page.push_str(
        "<table>\n<tr><th></th><th>median</th><th>P95</th><th>P99</th><th>spread</th><th>samples</th>\
         <th>to best peer</th><th>of ceiling</th><th class=\"note\">note</th></tr>\n",
    );
    for row in rows {
        line(page, row)?;
    }
    page.push_str("</table>\n");
    Ok(())
}

fn line(page: &mut String, row: &Row) -> Outcome {
    let class = match row.role {
        Role::Helios => "helios",
        Role::Peer => "peer",
        Role::Ceiling => "ceiling",
    };
    let name = escaped(&row.subject);
    let figures = match (&row.result, row.unit) {
        (Result::Measured(figures), Some(unit)) => {
            let dash = || "\u{2013}".to_owned();
            let peer = row.times_best_peer.map_or_else(dash, show_ratio);
            let ceiling = row
                .of_ceiling
                .map_or_else(dash, |part| format!("{:.1} %", part * 100.0));
            let cells = [
                unit.show(figures.median),
                unit.show(figures.p95),
                unit.show(figures.p99),
                format!("{:.0} %", figures.spread * 100.0),
                figures.samples.to_string(),
                peer,
                ceiling,
            ];
            cells.map(|cell| format!("<td>{cell}</td>")).concat()
        }
        (Result::Failed { .. }, _) => {
            format!(
                "<td colspan=\"7\" class=\"failed\">{}</td>",
                escaped(&row.result.to_string())
            )
        }
        _ => format!(
            "<td colspan=\"7\" class=\"skipped\">{}</td>",
            escaped(&row.result.to_string())
        ),
    };
    let note = escaped(&row.note);
    writeln!(
        page,
        "<tr class=\"{class}\"><td>{name}</td>{figures}<td class=\"note\">{note}</td></tr>"
    )?;
    Ok(())
}

/// Text that is no markup.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // Not allowed in a document, whatever a program has printed.
            letter if letter.is_control() && letter != '\n' => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}

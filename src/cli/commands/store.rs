//! `init`, `info`, `stats`, `check`: a whole store.

use helios_engine::ops::{CheckRequest, InitRequest, Latency, Request};

use super::{answer, plural};
use crate::cli::args::{CheckArgs, InitArgs};
use crate::cli::exit::Exit;
use crate::cli::output::Ink;
use crate::cli::quote;
use crate::cli::session::{Session, Stop};
use crate::cli::size::{count, show};

pub fn init(session: &mut Session, args: &InitArgs) -> Result<Exit, Stop> {
    let request = InitRequest {
        size: args.size,
        force: args.force,
    };
    let created = answer!(session.init(args.uri.as_deref(), request), Created);
    let out = &mut session.output;
    if out.json {
        out.json(&created)?;
        return Ok(Exit::Success);
    }
    out.remark(format!(
        "made the store {} ({})",
        created.store,
        show(created.size)
    ))?;
    out.remark(format!(
        "its index takes {} of memory when the store is full of contents of {} on average",
        show(created.ram_full_bytes),
        show(created.ram_full_extent_bytes)
    ))?;
    Ok(Exit::Success)
}

pub fn info(session: &mut Session) -> Result<Exit, Stop> {
    let info = answer!(session.call(Request::Info), Info);
    let out = &mut session.output;
    if out.json {
        out.json(&info)?;
        return Ok(Exit::Success);
    }
    let percent = if info.size == 0 {
        0.0
    } else {
        info.used as f64 * 100.0 / info.size as f64
    };
    let rows = [
        ("store", info.store.clone()),
        ("health", info.health.clone()),
        ("format", info.format_version.to_string()),
        ("size", show(info.size)),
        ("used", format!("{} ({percent:.1} %)", show(info.used))),
        ("free", show(info.free)),
        (
            "segments",
            format!("{}, {} free", count(info.segments), count(info.segments_free)),
        ),
        ("extents", count(info.extents)),
        ("branches", count(info.branches)),
        ("tags", count(info.tags)),
        ("pins", count(info.pins)),
        ("workspaces", count(info.workspaces)),
        (
            "index memory",
            format!(
                "{} now, {} when full",
                show(info.index_bytes),
                show(info.ram_full_bytes)
            ),
        ),
    ];
    table(session, &rows)?;
    for note in &info.notes {
        session.output.line(format!("note: {note}"))?;
    }
    Ok(Exit::Success)
}

pub fn stats(session: &mut Session) -> Result<Exit, Stop> {
    let stats = answer!(session.call(Request::Stats), Stats);
    if session.output.json {
        session.output.json(&stats)?;
        return Ok(Exit::Success);
    }
    let latency = |class: &Latency| {
        if class.commits == 0 {
            "none yet".to_owned()
        } else {
            format!(
                "{}: p50 {:.1} us, p95 {:.1} us, p99 {:.1} us",
                plural(class.commits, "commit", "commits"),
                class.commit_latency_us_p50,
                class.commit_latency_us_p95,
                class.commit_latency_us_p99
            )
        }
    };
    let cache = stats.cache;
    let rows = [
        ("cache hits", count(cache.hits)),
        ("cache misses", count(cache.misses)),
        ("cache evictions", count(cache.evictions)),
        (
            "cache size",
            format!(
                "{} in {}",
                show(cache.size),
                plural(cache.items, "extent", "extents")
            ),
        ),
        ("commits visible", latency(&stats.visible)),
        ("commits durable", latency(&stats.durable)),
        (
            "new objects",
            format!("{}, {}", count(stats.new_objects), show(stats.new_bytes)),
        ),
        ("dedup ratio", format!("{:.2}", stats.dedup_ratio)),
        ("I/O reduction", format!("{:.1} %", stats.io_reduction_percent)),
        ("index entries", count(stats.index_entries)),
        ("index memory", show(stats.index_bytes)),
        (
            "ever committed",
            plural(stats.totals.commits, "commit", "commits"),
        ),
        ("ever offered", show(stats.totals.offered_bytes)),
        (
            "ever stored",
            format!(
                "{}, {}",
                count(stats.totals.new_objects),
                show(stats.totals.new_bytes)
            ),
        ),
        ("dedup ratio, all", format!("{:.2}", stats.totals.dedup_ratio)),
    ];
    table(session, &rows)?;
    session.output.remark(format!(
        "counters cover the {} ms since this process opened the store; \"ever\" and the index cover the whole store",
        count(stats.open_ms)
    ))?;
    Ok(Exit::Success)
}

pub fn check(session: &mut Session, args: &CheckArgs) -> Result<Exit, Stop> {
    let request = Request::Check(CheckRequest {
        read_data: args.read_data,
    });
    let checked = answer!(session.call(request), Checked);
    let out = &mut session.output;
    if out.json {
        out.json(&checked)?;
    } else {
        for damage in &checked.damage {
            let line = match &damage.reached_from {
                Some(name) => format!("{}: {}", quote::name(name.as_bytes()), damage.message),
                None => damage.message.clone(),
            };
            let line = out.ink(Ink::Removed, &line);
            out.line(line)?;
        }
        out.remark(format!(
            "{} and {} verified ({} read), {} damaged",
            plural(checked.roots, "root", "roots"),
            plural(checked.extents, "extent", "extents"),
            show(checked.bytes),
            count(checked.damage.len() as u64)
        ))?;
    }
    Ok(if checked.damage.is_empty() {
        Exit::Success
    } else {
        Exit::Damaged
    })
}

fn table(session: &mut Session, rows: &[(&str, String)]) -> Result<(), Stop> {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let out = &mut session.output;
    for (name, value) in rows {
        let name = out.ink(Ink::Faint, &format!("{name:width$}"));
        out.line(format!("{name}  {value}"))?;
    }
    Ok(())
}

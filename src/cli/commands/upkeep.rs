//! `gc` and `scrub`: a store kept in good order.

use helios_engine::ops::{CollectRequest, Request, ScrubRequest};

use super::{answer, plural};
use crate::cli::args::{GcArgs, ScrubArgs};
use crate::cli::exit::Exit;
use crate::cli::output::Ink;
use crate::cli::session::{Session, Stop, absolute};
use crate::cli::size::{count, show};

pub fn gc(session: &mut Session, args: &GcArgs) -> Result<Exit, Stop> {
    let request = Request::Collect(CollectRequest {
        dry_run: args.dry_run,
    });
    let collected = answer!(session.call(request), Collected);
    let out = &mut session.output;
    if out.json {
        out.json(&collected)?;
        return Ok(Exit::Success);
    }
    if collected.expired_branches > 0 {
        let expired = plural(collected.expired_branches, "branch has", "branches have");
        out.line(format!("{expired} expired"))?;
    }
    let verb = if collected.dry_run {
        "would forget"
    } else {
        "forgot"
    };
    out.line(format!(
        "{verb} {} ({}), {} alive",
        plural(collected.forgotten, "extent", "extents"),
        show(collected.forgotten_bytes),
        count(collected.alive)
    ))?;
    if !collected.dry_run {
        out.line(format!(
            "freed {} ({}), moved {}",
            plural(collected.segments_freed, "segment", "segments"),
            show(collected.freed_bytes),
            show(collected.moved_bytes)
        ))?;
    }
    if collected.unreadable > 0 {
        let unreadable = plural(collected.unreadable, "extent", "extents");
        out.line(format!("{unreadable} cannot be read; `helios scrub` names them"))?;
    }
    Ok(Exit::Success)
}

pub fn scrub(session: &mut Session, args: ScrubArgs) -> Result<Exit, Stop> {
    let mut repair_from = Vec::with_capacity(args.repair_from.len());
    for path in args.repair_from {
        repair_from.push(absolute(&path)?);
    }
    let request = Request::Scrub(ScrubRequest {
        bytes_per_second: args.rate,
        restart: args.restart,
        repair_from,
    });
    let scrubbed = answer!(session.call(request), Scrubbed);
    let out = &mut session.output;
    if out.json {
        out.json(&scrubbed)?;
    } else {
        for extent in &scrubbed.damage {
            let line = format!("{} {}: {}", extent.kind, extent.id, extent.message);
            let line = out.ink(Ink::Removed, &line);
            out.line(line)?;
            for name in &extent.kept_by {
                out.line(format!("  reached from {name}"))?;
            }
        }
        for what in &scrubbed.anchors_damaged {
            out.line(format!("{what}; written anew"))?;
        }
        if scrubbed.footers_damaged > 0 {
            let footers = plural(scrubbed.footers_damaged, "segment", "segments");
            out.line(format!("{footers} had lost their footer and were written anew"))?;
        }
        let rest = if scrubbed.resumed { " of the rest" } else { "" };
        out.remark(format!(
            "{} in {}{rest} verified ({} read), {} repaired, {} damaged",
            plural(scrubbed.extents, "extent", "extents"),
            plural(scrubbed.segments, "segment", "segments"),
            show(scrubbed.bytes),
            count(scrubbed.repaired),
            count(scrubbed.damage.len() as u64)
        ))?;
    }
    Ok(if scrubbed.damage.is_empty() {
        Exit::Success
    } else {
        Exit::Damaged
    })
}

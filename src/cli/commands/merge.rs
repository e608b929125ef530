//! `merge`: a revision into a branch, and the names where that cannot be done.

use helios_engine::ops::{Conflict, ConflictKind, MergeOutcome, MergeRequest, Merged, Node, Request};

use super::commit::user;
use super::{answer, changes, plural};
use crate::cli::args::MergeArgs;
use crate::cli::exit::Exit;
use crate::cli::output::{Ink, Output};
use crate::cli::quote;
use crate::cli::session::{Session, Stop, working_directory};

pub fn merge(session: &mut Session, args: MergeArgs) -> Result<Exit, Stop> {
    let request = Request::Merge(MergeRequest {
        revision: args.revision.into(),
        into: args.into.map(Into::into),
        directory: working_directory()?,
        message: args.message,
        author: args.author.or_else(user).unwrap_or_default(),
        no_fast_forward: args.no_ff,
        allow_unrelated: args.allow_unrelated,
        dry_run: args.dry_run,
        durability: args.durability.into(),
    });
    let merged = answer!(session.call(request), Merged);
    let out = &mut session.output;
    if out.json {
        out.json(&merged)?;
    } else if merged.outcome == MergeOutcome::Conflicts {
        conflicts(out, &merged)?;
    } else {
        done(out, &merged)?;
    }
    Ok(match merged.outcome {
        MergeOutcome::Conflicts => Exit::Conflicts,
        _ => Exit::Success,
    })
}

/// The head of the branch, what has become of it, and the names that are different now.
fn done(out: &mut Output, merged: &Merged) -> std::io::Result<()> {
    let branch = out.ink(Ink::Name, &quote::name(merged.branch.as_bytes()));
    let head = match &merged.commit {
        Some(commit) => format!("{branch} {}", out.ink(Ink::Id, &commit.short())),
        None => branch,
    };
    let shown = merged.changes.iter().filter(|change| changes::is_shown(change));
    let count = plural(shown.count() as u64, "change", "changes");
    let theirs = out.ink(Ink::Id, &merged.theirs.short());
    let what = match (merged.outcome, merged.dry_run) {
        (MergeOutcome::UpToDate, _) => "has it already".to_owned(),
        (MergeOutcome::FastForward, false) => format!("moved from {}: {count}", merged.ours.short()),
        (MergeOutcome::FastForward, true) => format!("would move from {}: {count}", merged.ours.short()),
        (_, false) => format!("merged {theirs}: {count}"),
        (_, true) => format!("would merge {theirs}: {count}"),
    };
    out.line(format!("[{head}] {what}"))?;
    if !out.quiet {
        changes::print(out, &merged.changes, false)?;
    }
    Ok(())
}

/// A line for each name: what happened to it, and the ids on the branch and in what was to be merged.
fn conflicts(out: &mut Output, merged: &Merged) -> std::io::Result<()> {
    for conflict in &merged.conflicts {
        let mark = out.ink(Ink::Removed, "C");
        let name = quote::name(conflict.path.as_bytes());
        let [ours, theirs] = [&conflict.ours, &conflict.theirs].map(|side| show(out, side.as_ref()));
        out.line(format!(
            "{mark}\t{name}\t{}\tours {ours}\ttheirs {theirs}",
            why(conflict)
        ))?;
    }
    let branch = out.ink(Ink::Name, &quote::name(merged.branch.as_bytes()));
    out.remark(format!(
        "nothing was merged into {branch} ({}): {}",
        out.ink(Ink::Id, &merged.ours.short()),
        plural(merged.conflicts.len() as u64, "conflict", "conflicts")
    ))
}

fn why(conflict: &Conflict) -> &'static str {
    match conflict.conflict {
        ConflictKind::BothChanged => "changed on both sides",
        ConflictKind::BothAdded => "made on both sides",
        ConflictKind::OursRemoved => "removed here, changed there",
        ConflictKind::TheirsRemoved => "changed here, removed there",
        ConflictKind::Links => "links to one file with different contents",
    }
}

/// One side of a conflict: its id, or its kind if it has none.
fn show(out: &Output, node: Option<&Node>) -> String {
    match node {
        None => "-".to_owned(),
        Some(node) => {
            let id = node
                .id
                .map_or_else(|| format!("{:?}", node.kind).to_lowercase(), |id| id.short());
            format!("{} {:04o}", out.ink(Ink::Id, &id), node.mode)
        }
    }
}

//! From the values of the layers below to those of replies.

use std::sync::Arc;

use crate::ops::{Exchange, Headcount, Node, Stage, Step, Warning, Warnings};
use crate::trees::fs::{self, Control, Doubt, Phase};
use crate::trees::{Entry, EntryKind};

/// What a reply says of an entry.
pub(super) fn node(entry: &Entry) -> Node {
    let attributes = &entry.attributes;
    let has_id = matches!(
        entry.kind,
        EntryKind::File | EntryKind::Symlink | EntryKind::Directory
    );
    Node {
        kind: entry.kind,
        mode: entry.mode,
        size: entry.size,
        id: has_id.then_some(entry.id),
        mtime_ns: attributes.mtime.map(|time| {
            time.seconds
                .saturating_mul(1_000_000_000)
                .saturating_add(i64::from(time.nanoseconds))
        }),
        uid: attributes.uid,
        gid: attributes.gid,
    }
}

/// The reins of an operation on a directory: progress and cancellation go through the exchange.
pub(super) fn control(exchange: &dyn Exchange, jobs: Option<usize>) -> Control {
    let reporter = exchange.reporter();
    let mut control = Control {
        cancel: exchange.cancel().clone(),
        report: Some(Arc::new(move |progress: &fs::Progress| reporter(step(progress)))),
        ..Control::default()
    };
    if let Some(jobs) = jobs {
        control.threads = jobs.max(1);
    }
    control
}

fn step(progress: &fs::Progress) -> Step {
    let known = |total: u64| (total > 0).then_some(total);
    Step {
        stage: match progress.phase {
            Phase::Walk => Stage::Scanning,
            Phase::Read | Phase::Build => Stage::Storing,
            Phase::Write => Stage::Writing,
        },
        items: progress.files,
        items_total: known(progress.files_total),
        bytes: progress.bytes,
        bytes_total: known(progress.bytes_total),
    }
}

/// Tells the exchange what an operation left out, and keeps it for the reply.
pub(super) fn warnings(found: &fs::Warnings, exchange: &mut dyn Exchange) -> Warnings {
    let mut warnings = Warnings::default();
    for (doubt, path, what) in &found.examples {
        // That ignored paths are left alone is what was asked for.
        if *doubt == Doubt::IgnoredKept {
            continue;
        }
        let message = match what.is_empty() {
            true => explain(*doubt).to_owned(),
            false => format!("{} ({what})", explain(*doubt)),
        };
        let warning = Warning {
            path: path.as_path().into(),
            message,
        };
        exchange.warn(&warning);
        warnings.push(warning);
    }
    warnings.count = found
        .counts
        .iter()
        .filter(|(doubt, _)| **doubt != Doubt::IgnoredKept)
        .map(|(_, count)| count)
        .sum();
    warnings
}

fn explain(doubt: Doubt) -> &'static str {
    match doubt {
        Doubt::SocketSkipped => "a socket, left out: it means nothing without its process",
        Doubt::UnknownKindSkipped => "left out: a kind of file this version does not know",
        Doubt::UnreadableSkipped => "left out: it could not be read",
        Doubt::IgnoreRuleUnusable => "an ignore rule has no effect: it could not be understood",
        Doubt::XattrNotKept => "an extended attribute was not kept",
        Doubt::OwnerNotKept => "the owner was not kept: only root may give files away",
        Doubt::DeviceSkipped => "a device node, not made: it was not allowed",
        Doubt::LinkCopied => "copied instead of linked: hard links are not supported there",
        Doubt::IgnoredKept => "left alone: it is ignored",
    }
}

/// What a tree holds, from what a scan counted.
pub(super) fn headcount(counts: &fs::ScanCounts) -> Headcount {
    Headcount {
        files: counts.files,
        directories: counts.directories,
        bytes: counts.bytes,
    }
}

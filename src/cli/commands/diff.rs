//! `diff`: two states, as names, as counts of lines, or as a patch.

use std::path::PathBuf;

use helios_engine::ops::{Change, ChangeKind, DiffRequest, GetRequest, Node, Request, Side};
use helios_engine::trees::EntryKind;

use super::patch::{self, Contents};
use super::{answer, changes, done};
use crate::cli::args::DiffArgs;
use crate::cli::exit::Exit;
use crate::cli::output::Ink;
use crate::cli::quote;
use crate::cli::session::{Session, Stop, working_directory};

/// Widest histogram of `--stat`, in characters.
const BAR: u64 = 40;

pub fn diff(session: &mut Session, args: DiffArgs) -> Result<Exit, Stop> {
    let directory = working_directory()?;
    let real = args.to.is_none().then(|| directory.as_path().to_owned());
    let request = Request::Diff(DiffRequest {
        from: args.from.into(),
        to: args
            .to
            .map_or(Side::Directory(directory), |to| Side::Revision(to.into())),
        paths: args.paths.into_iter().map(Into::into).collect(),
    });
    let compared = answer!(session.call(request), Compared);
    if session.output.json {
        session.output.json(&compared)?;
    } else if args.patch {
        for change in &compared.changes {
            let contents = both(session, change, real.as_ref())?;
            patch::print(&mut session.output, change, &contents)?;
        }
    } else if args.stat {
        stat(session, &compared.changes, real.as_ref())?;
    } else {
        changes::print(&mut session.output, &compared.changes, args.nul)?;
    }
    Ok(if args.exit_code && !compared.changes.is_empty() {
        Exit::Failure
    } else {
        done(&compared.warnings)
    })
}

/// The bytes of both sides, where showing them makes sense.
fn both(session: &mut Session, change: &Change, real: Option<&PathBuf>) -> Result<[Contents; 2], Stop> {
    let from = side(session, change.from.as_ref(), None)?;
    let path = real.map(|directory| directory.join(change.path.as_path()));
    let to = side(session, change.to.as_ref(), path)?;
    Ok([from, to])
}

fn side(session: &mut Session, node: Option<&Node>, real: Option<PathBuf>) -> Result<Contents, Stop> {
    let Some(node) = node else {
        return Ok(Contents::Absent);
    };
    if !matches!(node.kind, EntryKind::File | EntryKind::Symlink) {
        return Ok(Contents::None);
    }
    if node.size > patch::BYTES_MAX {
        return Ok(Contents::Large);
    }
    let bytes = match (real, node.id) {
        (Some(path), _) if node.kind == EntryKind::Symlink => {
            match std::fs::read_link(&path) {
                Ok(target) => target.into_os_string().into_encoded_bytes(),
                // It changed since the comparison; there is nothing to show.
                Err(_) => return Ok(Contents::Absent),
            }
        }
        (Some(path), _) => match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(_) => return Ok(Contents::Absent),
        },
        (None, Some(id)) => {
            let mut bytes = Vec::new();
            let request = Request::Get(GetRequest {
                id,
                offset: 0,
                length: None,
            });
            let _ = answer!(session.call_writing(request, &mut bytes), Content);
            bytes
        }
        (None, None) => return Ok(Contents::None),
    };
    Ok(Contents::of(bytes))
}

fn stat(session: &mut Session, changes: &[Change], real: Option<&PathBuf>) -> Result<(), Stop> {
    struct Row {
        name: String,
        text: Option<(u64, u64)>,
        note: String,
    }
    let mut rows = Vec::new();
    let (mut files, mut added, mut removed) = (0u64, 0u64, 0u64);
    for change in changes {
        let kinds = [&change.from, &change.to].map(|node| node.as_ref().map(|node| node.kind));
        if kinds.iter().flatten().all(|kind| *kind == EntryKind::Directory) {
            continue;
        }
        files += 1;
        let contents = both(session, change, real)?;
        let text = patch::lines(&contents);
        if let Some((more, less)) = text {
            added += more;
            removed += less;
        }
        let size = |node: &Option<Node>| node.as_ref().map_or(0, |node| node.size);
        let note = match (change.change, text) {
            (ChangeKind::Metadata, _) => "mode, owner or time".to_owned(),
            (_, Some(_)) => String::new(),
            (_, None) => format!("Bin {} -> {} bytes", size(&change.from), size(&change.to)),
        };
        rows.push(Row {
            name: quote::name(change.path.as_bytes()),
            text: if change.change == ChangeKind::Metadata {
                None
            } else {
                text
            },
            note,
        });
    }
    let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
    let most = rows
        .iter()
        .filter_map(|row| row.text)
        .map(|(a, r)| a + r)
        .max()
        .unwrap_or(0);
    let digits = most.to_string().len();
    let out = &mut session.output;
    for row in rows {
        let right = match row.text {
            Some((more, less)) => {
                let scale = |lines: u64| {
                    let length = if most <= BAR {
                        lines
                    } else {
                        (lines * BAR).div_ceil(most)
                    };
                    usize::try_from(length).unwrap_or(0)
                };
                let plus = out.ink(Ink::Added, &"+".repeat(scale(more)));
                let minus = out.ink(Ink::Removed, &"-".repeat(scale(less)));
                format!("{:>digits$} {plus}{minus}", more + less)
            }
            None => row.note,
        };
        out.line(format!(" {:width$} | {right}", row.name))?;
    }
    out.line(format!(
        " {} changed, {}(+), {}(-)",
        super::plural(files, "file", "files"),
        super::plural(added, "insertion", "insertions"),
        super::plural(removed, "deletion", "deletions")
    ))?;
    Ok(())
}

//! How changes are listed: a letter and a name, a line or a NUL for each.

use helios_engine::ops::{Change, ChangeKind, Part};
use helios_engine::trees::EntryKind;

use crate::cli::output::{Ink, Output};
use crate::cli::quote;

/// The letter of a change; the same as git's where git has one.
pub fn letter(change: ChangeKind) -> &'static str {
    match change {
        ChangeKind::Added => "A",
        ChangeKind::Removed => "D",
        ChangeKind::Modified => "M",
        ChangeKind::Retyped => "T",
        ChangeKind::Metadata => "m",
    }
}

/// The colour of a change.
pub fn ink(change: ChangeKind) -> Ink {
    match change {
        ChangeKind::Added => Ink::Added,
        ChangeKind::Removed => Ink::Removed,
        _ => Ink::Changed,
    }
}

/// Whether a change is worth a line: a directory whose only difference is its time has changed because of what
/// happened in it, and that has lines of its own. JSON has all.
pub fn is_shown(change: &Change) -> bool {
    let directory = change
        .to
        .as_ref()
        .is_some_and(|node| node.kind == EntryKind::Directory);
    !(directory && change.parts == [Part::Mtime])
}

/// Prints `M<tab>name` lines, or with `nul` `M NUL name NUL` with names as they are.
pub fn print(out: &mut Output, changes: &[Change], nul: bool) -> std::io::Result<()> {
    for change in changes.iter().filter(|change| is_shown(change)) {
        let letter = letter(change.change);
        if nul {
            out.bytes(letter.as_bytes())?;
            out.bytes(b"\0")?;
            out.bytes(change.path.as_bytes())?;
            out.bytes(b"\0")?;
        } else {
            let letter = out.ink(ink(change.change), letter);
            out.line(format!("{letter}\t{}", quote::name(change.path.as_bytes())))?;
        }
    }
    Ok(())
}

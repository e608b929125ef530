//! A change as a unified diff that `git apply` and `patch -p1` take.

use std::io;
use std::time::Duration;

use helios_engine::ops::{Change, ChangeKind, Node};
use helios_engine::trees::EntryKind;
use similar::{ChangeTag, TextDiff};

use crate::cli::output::{Ink, Output};
use crate::cli::quote;

/// Larger contents are not compared line by line.
pub const BYTES_MAX: u64 = 8 << 20;
/// How far into a content a NUL makes it binary; the same as git's.
const BINARY_PREFIX: usize = 8000;
/// Lines around a change.
const CONTEXT: usize = 3;
/// A comparison that takes longer gives a patch that is correct but not the shortest.
const PATIENCE: Duration = Duration::from_secs(3);

/// One side of a change.
pub enum Contents {
    /// There is no such name on this side.
    Absent,
    /// The name has no bytes: a directory, a pipe, a device.
    None,
    /// Text to compare.
    Text(Vec<u8>),
    /// Bytes that are no text.
    Binary,
    /// Too large to compare line by line.
    Large,
}

impl Contents {
    /// Text or binary.
    pub fn of(bytes: Vec<u8>) -> Contents {
        if bytes[..bytes.len().min(BINARY_PREFIX)].contains(&0) {
            Contents::Binary
        } else {
            Contents::Text(bytes)
        }
    }

    /// Text, where a missing side counts as empty.
    fn text(&self) -> Option<&[u8]> {
        match self {
            Contents::Absent => Some(&[]),
            Contents::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Lines added and removed; nothing where one side is no text.
pub fn lines(contents: &[Contents; 2]) -> Option<(u64, u64)> {
    let (from, to) = (contents[0].text()?, contents[1].text()?);
    let diff = compare(from, to);
    let mut counts = (0, 0);
    for change in diff.iter_all_changes() {
        match change.tag() {
            ChangeTag::Insert => counts.0 += 1,
            ChangeTag::Delete => counts.1 += 1,
            ChangeTag::Equal => {}
        }
    }
    Some(counts)
}

fn compare<'a>(from: &'a [u8], to: &'a [u8]) -> TextDiff<'a, 'a, 'a, [u8]> {
    TextDiff::configure().timeout(PATIENCE).diff_lines(from, to)
}

/// Prints one change.
pub fn print(out: &mut Output, change: &Change, contents: &[Contents; 2]) -> io::Result<()> {
    if change.change == ChangeKind::Retyped && change.from.is_some() && change.to.is_some() {
        // A patch says this as a removal and an addition.
        let [from, to] = contents;
        let removal = Change {
            change: ChangeKind::Removed,
            to: None,
            ..change.clone()
        };
        let addition = Change {
            change: ChangeKind::Added,
            from: None,
            ..change.clone()
        };
        one(out, &removal, from, &Contents::Absent)?;
        return one(out, &addition, &Contents::Absent, to);
    }
    one(out, change, &contents[0], &contents[1])
}

fn one(out: &mut Output, change: &Change, from: &Contents, to: &Contents) -> io::Result<()> {
    let modes = [&change.from, &change.to].map(|node| node.as_ref().and_then(git_mode));
    if modes == [None, None] {
        return Ok(());
    }
    let same_bytes = change.change == ChangeKind::Metadata;
    if same_bytes && modes[0] == modes[1] {
        return Ok(());
    }
    let old = prefixed(b"a/", change);
    let new = prefixed(b"b/", change);
    strong(out, format!("diff --git {old} {new}"))?;
    match modes {
        [None, Some(mode)] => strong(out, format!("new file mode {mode}"))?,
        [Some(mode), None] => strong(out, format!("deleted file mode {mode}"))?,
        [Some(before), Some(after)] if before != after => {
            strong(out, format!("old mode {before}"))?;
            strong(out, format!("new mode {after}"))?;
        }
        _ => {}
    }
    if same_bytes {
        return Ok(());
    }
    let old = if modes[0].is_some() {
        old
    } else {
        "/dev/null".to_owned()
    };
    let new = if modes[1].is_some() {
        new
    } else {
        "/dev/null".to_owned()
    };
    let (Some(before), Some(after)) = (from.text(), to.text()) else {
        let why = if matches!(from, Contents::Large) || matches!(to, Contents::Large) {
            "Large files"
        } else {
            "Binary files"
        };
        return out.line(format!("{why} {old} and {new} differ"));
    };
    let diff = compare(before, after);
    let mut header = true;
    for hunk in diff.unified_diff().context_radius(CONTEXT).iter_hunks() {
        if std::mem::take(&mut header) {
            strong(out, format!("--- {old}"))?;
            strong(out, format!("+++ {new}"))?;
        }
        let place = out.ink(Ink::Changed, &hunk.header().to_string());
        out.line(place)?;
        for line in hunk.iter_changes() {
            print_line(out, line.tag(), line.value())?;
            if line.missing_newline() {
                out.bytes(b"\n\\ No newline at end of file\n")?;
            }
        }
    }
    Ok(())
}

fn print_line(out: &mut Output, tag: ChangeTag, line: &[u8]) -> io::Result<()> {
    let (sign, ink) = match tag {
        ChangeTag::Equal => (" ", None),
        ChangeTag::Insert => ("+", Some(Ink::Added)),
        ChangeTag::Delete => ("-", Some(Ink::Removed)),
    };
    // The marks around a coloured line come from an empty painted text, because the line may be no UTF-8.
    let painted = ink.map(|ink| out.ink(ink, "\0")).unwrap_or_default();
    let (before, after) = painted.split_once('\0').unwrap_or(("", ""));
    let (body, end) = match line.split_last() {
        Some((b'\n', body)) => (body, &b"\n"[..]),
        _ => (line, &b""[..]),
    };
    out.bytes(before.as_bytes())?;
    out.bytes(sign.as_bytes())?;
    out.bytes(body)?;
    out.bytes(after.as_bytes())?;
    out.bytes(end)
}

fn strong(out: &mut Output, line: String) -> io::Result<()> {
    let line = out.ink(Ink::Strong, &line);
    out.line(line)
}

fn prefixed(prefix: &[u8], change: &Change) -> String {
    quote::name(&[prefix, change.path.as_bytes()].concat())
}

/// The mode git would note; nothing for what git cannot hold.
fn git_mode(node: &Node) -> Option<&'static str> {
    match node.kind {
        EntryKind::File if node.mode & 0o100 != 0 => Some("100755"),
        EntryKind::File => Some("100644"),
        EntryKind::Symlink => Some("120000"),
        _ => None,
    }
}

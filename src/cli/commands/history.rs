//! `log` and `ls`: what is in the store's history.

use std::collections::HashMap;

use helios_engine::format::ContentId;
use helios_engine::ops::{BranchRequest, ListRequest, ListedEntry, LogRequest, Node, Request, TagRequest};
use helios_engine::trees::EntryKind;

use super::answer;
use crate::cli::args::{LogArgs, LsArgs};
use crate::cli::exit::Exit;
use crate::cli::output::{Ink, Output};
use crate::cli::quote;
use crate::cli::session::{Session, Stop, working_directory};
use crate::cli::time;
use helios_engine::trees::format_utc;

pub fn log(session: &mut Session, args: LogArgs) -> Result<Exit, Stop> {
    let request = Request::Log(LogRequest {
        revision: args.revision.map(Into::into),
        directory: working_directory()?,
        limit: args.limit,
        since_ns: args.since,
    });
    let history = answer!(session.call(request), History);
    if session.output.json {
        session.output.json(&history)?;
        return Ok(Exit::Success);
    }
    let names = names(session)?;
    let out = &mut session.output;
    for (place, record) in history.commits.iter().enumerate() {
        let names = names.get(&record.commit).map_or_else(String::new, |names| {
            let names: Vec<String> = names.iter().map(|name| out.ink(Ink::Name, name)).collect();
            format!(" ({})", names.join(", "))
        });
        let message = &record.message;
        if args.oneline {
            let id = out.ink(Ink::Id, &record.commit.short());
            let first = quote_line(message.lines().next().unwrap_or(""));
            out.line(format!("{id}{names} {first}").trim_end())?;
            continue;
        }
        if place > 0 {
            out.line("")?;
        }
        let id = out.ink(Ink::Id, &record.commit.to_string());
        out.line(format!("commit {id}{names}"))?;
        if !record.author.is_empty() {
            out.line(format!("author {}", quote_line(&record.author)))?;
        }
        out.line(format!("date   {}", format_utc(record.time_ns)))?;
        for line in message.lines() {
            out.line(format!("    {}", quote_line(line)).trim_end())?;
        }
    }
    Ok(Exit::Success)
}

/// A line of a message, with nothing in it that a terminal would act on.
fn quote_line(line: &str) -> String {
    line.chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// Which branches and tags name each commit. Long lists of agents' branches are cut.
fn names(session: &mut Session) -> Result<HashMap<ContentId, Vec<String>>, Stop> {
    const EACH: usize = 4;
    let branches = answer!(session.call(Request::Branch(BranchRequest::List)), References);
    let tags = answer!(session.call(Request::Tag(TagRequest::List)), References);
    let mut names: HashMap<ContentId, Vec<String>> = HashMap::new();
    let tags = tags.references.iter().map(|tag| (tag, "tag: "));
    for (reference, prefix) in tags.chain(branches.references.iter().map(|branch| (branch, ""))) {
        let list = names.entry(reference.commit).or_default();
        match list.len() {
            len if len < EACH => list.push(format!("{prefix}{}", quote::name(reference.name.as_bytes()))),
            EACH => list.push("...".to_owned()),
            _ => {}
        }
    }
    Ok(names)
}

pub fn ls(session: &mut Session, args: LsArgs) -> Result<Exit, Stop> {
    let request = Request::List(ListRequest {
        revision: args.revision.map(Into::into),
        directory: working_directory()?,
        recursive: args.recursive,
    });
    let listed = answer!(session.call(request), Listed);
    let out = &mut session.output;
    if out.json {
        out.json(&listed)?;
        return Ok(Exit::Success);
    }
    let width = listed
        .entries
        .iter()
        .map(|entry| entry.node.size)
        .max()
        .unwrap_or(0)
        .to_string()
        .len();
    for entry in &listed.entries {
        if args.nul {
            out.bytes(entry.path.as_bytes())?;
            out.bytes(b"\0")?;
            continue;
        }
        let mut line = if args.long {
            long(out, &entry.node, width)
        } else {
            String::new()
        };
        line.push_str(&name(out, entry));
        if args.long
            && let Some(target) = &entry.target
        {
            line.push_str(" -> ");
            line.push_str(&quote::name(target.as_bytes()));
        }
        out.line(line)?;
    }
    Ok(Exit::Success)
}

fn name(out: &Output, entry: &ListedEntry) -> String {
    let name = quote::name(entry.path.as_bytes());
    match entry.node.kind {
        EntryKind::Directory => format!("{}/", out.ink(Ink::Name, &name)),
        EntryKind::Symlink => out.ink(Ink::Changed, &name),
        EntryKind::File if entry.node.mode & 0o111 != 0 => out.ink(Ink::Added, &name),
        _ => name,
    }
}

fn long(out: &Output, node: &Node, width: usize) -> String {
    let number = |id: Option<u32>| id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let time = node.mtime_ns.map_or_else(|| "-".to_owned(), time::show_minutes);
    let id = node.id.map_or_else(|| "-".to_owned(), |id| id.short());
    format!(
        "{} {:>5} {:>5} {:>width$} {time:16} {}  ",
        mode(node),
        number(node.uid),
        number(node.gid),
        node.size,
        out.ink(Ink::Id, &format!("{id:12}")),
    )
}

/// `drwxr-xr-x`, set-id and sticky bits included.
fn mode(node: &Node) -> String {
    let kind = match node.kind {
        EntryKind::File => '-',
        EntryKind::Directory => 'd',
        EntryKind::Symlink => 'l',
        EntryKind::Fifo => 'p',
        EntryKind::CharDevice => 'c',
        EntryKind::BlockDevice => 'b',
    };
    let mut text = String::from(kind);
    for (shift, special, set, unset) in [
        (6, 0o4000, 's', 'S'),
        (3, 0o2000, 's', 'S'),
        (0, 0o1000, 't', 'T'),
    ] {
        let bits = node.mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, node.mode & special != 0) {
            (true, true) => set,
            (false, true) => unset,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: modes read as `ls -l` prints them.
    #[test]
    fn modes() {
        let node = |kind, mode| Node {
            kind,
            mode,
            size: 0,
            id: None,
            mtime_ns: None,
            uid: None,
            gid: None,
        };
        for (kind, bits, text) in [
            (EntryKind::File, 0o644, "-rw-r--r--"),
            (EntryKind::Directory, 0o1777, "drwxrwxrwt"),
            (EntryKind::File, 0o4755, "-rwsr-xr-x"),
            (EntryKind::File, 0o2644, "-rw-r-Sr--"),
            (EntryKind::Symlink, 0o777, "lrwxrwxrwx"),
            (EntryKind::Fifo, 0, "p---------"),
        ] {
            assert_eq!(mode(&node(kind, bits)), text);
        }
    }
}

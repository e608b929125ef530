//! `branch` and `tag`: names of commits.

use helios_engine::ops::{BranchRequest, Class, Failure, Reference, References, Request, TagRequest};

use super::answer;
use crate::cli::args::{BranchArgs, TagArgs};
use crate::cli::exit::Exit;
use crate::cli::output::Ink;
use crate::cli::quote;
use crate::cli::session::{Session, Stop, working_directory};
use helios_engine::trees::format_utc;

/// Lists of this many new names are printed in full; longer ones are summed up.
const NAMES_SHOWN: usize = 10;

pub fn branch(session: &mut Session, args: BranchArgs) -> Result<Exit, Stop> {
    let mut rename = args.rename.into_iter();
    let (request, verb) = if let (Some(from), Some(to)) = (rename.next(), rename.next()) {
        let request = BranchRequest::Rename {
            from: from.into(),
            to: to.into(),
        };
        (request, "renamed to")
    } else if !args.delete.is_empty() {
        let names = args.delete.into_iter().map(Into::into).collect();
        (BranchRequest::Delete { names }, "deleted")
    } else if let Some(name) = args.name {
        let request = BranchRequest::Create {
            name: name.into(),
            revision: args.revision.map(Into::into),
            directory: working_directory()?,
            count: args.count,
            force: args.force,
            expires_ns: args.expires,
        };
        (request, if args.expires.is_some() { "set" } else { "made" })
    } else if args.force {
        return Err(needs_name("branch").into());
    } else {
        return list(session, Request::Branch(BranchRequest::List));
    };
    changed(session, Request::Branch(request), verb)
}

pub fn tag(session: &mut Session, args: TagArgs) -> Result<Exit, Stop> {
    let (request, verb) = if !args.delete.is_empty() {
        let names = args.delete.into_iter().map(Into::into).collect();
        (TagRequest::Delete { names }, "deleted")
    } else if let Some(name) = args.name {
        let request = TagRequest::Create {
            name: name.into(),
            revision: args.revision.map(Into::into),
            directory: working_directory()?,
            force: args.force,
        };
        (request, "made")
    } else if args.force {
        return Err(needs_name("tag").into());
    } else {
        return list(session, Request::Tag(TagRequest::List));
    };
    changed(session, Request::Tag(request), verb)
}

fn needs_name(what: &str) -> Failure {
    Failure::new(Class::Invalid, format!("--force without the name of a {what}"))
        .with_hint(format!("`helios help {what}` shows examples"))
}

fn list(session: &mut Session, request: Request) -> Result<Exit, Stop> {
    let References { references } = answer!(session.call(request), References);
    let out = &mut session.output;
    if out.json {
        out.json(&References { references })?;
        return Ok(Exit::Success);
    }
    let names: Vec<String> = references
        .iter()
        .map(|reference| quote::name(reference.name.as_bytes()))
        .collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    for (reference, name) in references.iter().zip(names) {
        let name = out.ink(Ink::Name, &format!("{name:width$}"));
        let id = out.ink(Ink::Id, &reference.commit.short());
        let mut line = format!("{name}  {id}  {}", format_utc(reference.changed_ns));
        if reference.expires_ns.is_some() {
            line.push_str(&format!("  {}", expiry(reference)));
        }
        out.line(line)?;
    }
    Ok(Exit::Success)
}

/// When a branch goes by itself.
fn expiry(reference: &Reference) -> String {
    reference.expires_ns.map_or_else(
        || "never expires".to_owned(),
        |expires_ns| format!("expires {}", format_utc(expires_ns)),
    )
}

fn changed(session: &mut Session, request: Request, verb: &str) -> Result<Exit, Stop> {
    let References { references } = answer!(session.call(request), References);
    let out = &mut session.output;
    if out.json {
        out.json(&References { references })?;
        return Ok(Exit::Success);
    }
    if references.len() > NAMES_SHOWN {
        let (first, last) = (&references[0], &references[references.len() - 1]);
        let line = format!(
            "{verb} {} names: {} ... {}",
            references.len(),
            quote::name(first.name.as_bytes()),
            quote::name(last.name.as_bytes())
        );
        out.remark(line)?;
        return Ok(Exit::Success);
    }
    for reference in &references {
        let name = out.ink(Ink::Name, &quote::name(reference.name.as_bytes()));
        let id = out.ink(Ink::Id, &reference.commit.short());
        match (verb, reference.expires_ns) {
            ("set", _) => out.remark(format!("{name} ({id}) {}", expiry(reference)))?,
            _ => out.remark(format!("{verb} {name} ({id})"))?,
        }
    }
    Ok(Exit::Success)
}

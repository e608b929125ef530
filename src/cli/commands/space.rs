//! `why`, `du`, `forget`: what is kept, by what, and what it costs.

use helios_engine::ops::{Amount, ForgetRequest, KeeperKind, Request, UsageRequest, WhyRequest};
use helios_engine::trees::format_utc;

use super::{answer, plural};
use crate::cli::args::{DuArgs, ForgetArgs, WhyArgs};
use crate::cli::exit::Exit;
use crate::cli::output::Ink;
use crate::cli::quote;
use crate::cli::session::{Session, Stop};
use crate::cli::size::{count, show};

/// A word for a kind of name.
fn word(kind: KeeperKind) -> &'static str {
    match kind {
        KeeperKind::Branch => "branch",
        KeeperKind::Tag => "tag",
        KeeperKind::Pin => "pin",
        KeeperKind::Workspace => "directory",
        KeeperKind::Revision => "revision",
    }
}

pub fn why(session: &mut Session, args: WhyArgs) -> Result<Exit, Stop> {
    let request = Request::Why(WhyRequest {
        what: args.what.into(),
        limit: args.limit,
    });
    let kept = answer!(session.call(request), Kept);
    let out = &mut session.output;
    if out.json {
        out.json(&kept)?;
        return Ok(Exit::Success);
    }
    out.remark(format!(
        "{} {} ({})",
        kept.kind,
        out.ink(Ink::Id, &kept.id.to_string()),
        show(kept.bytes)
    ))?;
    for keeper in &kept.keepers {
        let mut line = format!(
            "{} {}",
            word(keeper.kind),
            out.ink(Ink::Name, &quote::name(keeper.name.as_bytes()))
        );
        if let Some(commit) = &keeper.commit {
            line.push_str(&format!("  {}", out.ink(Ink::Id, &commit.short())));
        }
        if let Some(path) = &keeper.path {
            line.push_str(&format!("  {}", quote::name(path.as_bytes())));
        }
        if keeper.commits > 1 {
            line.push_str(&format!("  (in {} commits)", count(keeper.commits)));
        }
        out.line(line)?;
    }
    if kept.keepers.is_empty() && kept.more == 0 {
        out.line("nothing keeps it alive: no branch, tag, pin or directory leads to it")?;
    }
    if kept.more > 0 {
        out.line(format!(
            "... and {} more; -n lists more of them",
            count(kept.more)
        ))?;
    }
    Ok(Exit::Success)
}

pub fn du(session: &mut Session, args: DuArgs) -> Result<Exit, Stop> {
    let request = Request::Usage(UsageRequest {
        revisions: args.revisions.into_iter().map(Into::into).collect(),
    });
    let usage = answer!(session.call(request), Usage);
    let out = &mut session.output;
    if out.json {
        out.json(&usage)?;
        return Ok(Exit::Success);
    }
    let line = |all: &str, unique: &str, shared: &str, extents: &str| {
        format!("{all:>10}  {unique:>10}  {shared:>10}  {extents:>10}")
    };
    let heading = format!("{}  name", line("all", "unique", "shared", "extents"));
    let heading = out.ink(Ink::Faint, &heading);
    out.remark(heading)?;
    let bytes = |amount: &Amount| show(amount.bytes);
    for row in &usage.rows {
        let name = match (&row.name, row.kind) {
            (Some(name), _) => quote::name(name.as_bytes()),
            (None, KeeperKind::Pin) => "(pins)".to_owned(),
            (None, _) => "(what is known of directories)".to_owned(),
        };
        out.line(format!(
            "{}  {}",
            line(
                &bytes(&row.all),
                &bytes(&row.unique),
                &bytes(&row.shared),
                &count(row.all.extents)
            ),
            out.ink(Ink::Name, &name)
        ))?;
    }
    out.line(format!(
        "{}  total of the store",
        line(&bytes(&usage.total), "", "", &count(usage.total.extents))
    ))?;
    Ok(Exit::Success)
}

pub fn forget(session: &mut Session, args: ForgetArgs) -> Result<Exit, Stop> {
    let request = Request::Forget(ForgetRequest {
        branches: args.branches.into_iter().map(Into::into).collect(),
        keep_last: args.keep_last,
        keep_within_ns: args.keep_within,
        keep_tags: args.keep_tag,
        dry_run: args.dry_run,
    });
    let forgot = answer!(session.call(request), Forgot);
    let out = &mut session.output;
    if out.json {
        out.json(&forgot)?;
        return Ok(Exit::Success);
    }
    let verb = if forgot.dry_run { "would forget" } else { "forgot" };
    let mut total = 0;
    for branch in forgot.branches.iter().filter(|branch| branch.forgotten > 0) {
        total += branch.forgotten;
        out.line(format!(
            "{}: {verb} {}, {} left, back to {} ({})",
            out.ink(Ink::Name, &quote::name(branch.name.as_bytes())),
            plural(branch.forgotten, "commit", "commits"),
            count(branch.kept),
            out.ink(Ink::Id, &branch.oldest.short()),
            format_utc(branch.oldest_ns)
        ))?;
    }
    out.remark(format!(
        "{verb} {} on {}",
        plural(total, "commit", "commits"),
        plural(forgot.branches.len() as u64, "branch", "branches")
    ))?;
    Ok(Exit::Success)
}

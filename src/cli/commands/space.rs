//! `why`, `du`, `forget`, `quota`: what is kept, by what, and what it costs.

use helios_engine::ops::{
    Amount, Class, ExpireRequest, Expired, Failure, ForgetRequest, KeeperKind, QuotaRequest, Request,
    UsageRequest, WhyRequest,
};
use helios_engine::trees::format_utc;

use super::{answer, plural, upkeep};
use crate::cli::args::{DuArgs, ForgetArgs, GcArgs, QuotaArgs, WhyArgs};
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
    let prune = args.prune;
    let exit = forget_only(session, args)?;
    if prune {
        return upkeep::gc(session, &GcArgs { dry_run: false });
    }
    Ok(exit)
}

fn forget_only(session: &mut Session, args: ForgetArgs) -> Result<Exit, Stop> {
    if args.expired {
        let request = Request::Expire(ExpireRequest {
            dry_run: args.dry_run,
        });
        let expired = answer!(session.call(request), Expired);
        let rules = args.keep_last.is_some() || args.keep_within.is_some() || !args.keep_tag.is_empty();
        if !(session.output.json && (rules || args.prune)) {
            show_expired(session, &expired)?;
        }
        if !rules {
            return Ok(Exit::Success);
        }
    }
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
        // One value a command: of several steps the last one's.
        if !args.prune {
            out.json(&forgot)?;
        }
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

fn show_expired(session: &mut Session, expired: &Expired) -> Result<(), Stop> {
    let out = &mut session.output;
    if out.json {
        out.json(expired)?;
        return Ok(());
    }
    let verb = if expired.dry_run {
        "would delete"
    } else {
        "deleted"
    };
    for branch in &expired.removed {
        out.line(format!(
            "{}: {verb} the branch at {}, which expired {}",
            out.ink(Ink::Name, &quote::name(branch.name.as_bytes())),
            out.ink(Ink::Id, &branch.commit.short()),
            format_utc(branch.expires_ns.unwrap_or(0))
        ))?;
    }
    let branches = plural(expired.removed.len() as u64, "expired branch", "expired branches");
    out.remark(format!("{verb} {branches}"))?;
    Ok(())
}

pub fn quota(session: &mut Session, args: QuotaArgs) -> Result<Exit, Stop> {
    let only = args.prefix.clone().filter(|_| args.limit.is_none());
    let request = match (args.prefix, args.limit) {
        (Some(prefix), Some(limit)) => QuotaRequest::Set {
            prefix: prefix.into(),
            limit_bytes: limit.0,
        },
        _ if args.measure => QuotaRequest::Measure,
        _ => QuotaRequest::List,
    };
    let mut quotas = answer!(session.call(Request::Quota(request)), Quotas);
    if let Some(only) = only {
        let only = helios_engine::ops::ByteString::from(only);
        quotas.quotas.retain(|quota| quota.prefix == only);
        if quotas.quotas.is_empty() {
            let message = format!("quota for `{only}` not found");
            return Err(Failure::new(Class::NotFound, message).into());
        }
    }
    let out = &mut session.output;
    if out.json {
        out.json(&quotas)?;
        return Ok(Exit::Success);
    }
    for quota in &quotas.quotas {
        out.line(format!(
            "{}  {} of {} used, measured {}",
            out.ink(Ink::Name, &quote::name(quota.prefix.as_bytes())),
            show(quota.used_bytes),
            show(quota.limit_bytes),
            format_utc(quota.measured_ns)
        ))?;
    }
    if quotas.quotas.is_empty() {
        out.remark("no quotas")?;
    }
    Ok(Exit::Success)
}

//! `forget`: what is kept, and for how long.

use helios_engine::ops::{ForgetRequest, Request};
use helios_engine::trees::format_utc;

use super::{answer, plural};
use crate::cli::args::ForgetArgs;
use crate::cli::exit::Exit;
use crate::cli::output::Ink;
use crate::cli::quote;
use crate::cli::session::{Session, Stop};
use crate::cli::size::count;

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

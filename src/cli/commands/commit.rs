//! `commit` and `status`: a directory and its branch.

use helios_engine::ops::{CommitRequest, Request, StatusRequest};

use super::{answer, changes, done, plural};
use crate::cli::args::{CommitArgs, StatusArgs};
use crate::cli::exit::Exit;
use crate::cli::output::Ink;
use crate::cli::quote;
use crate::cli::session::{Session, Stop, absolute};
use crate::cli::size::show;

pub fn commit(session: &mut Session, args: CommitArgs) -> Result<Exit, Stop> {
    let request = Request::Commit(CommitRequest {
        directory: absolute(&args.directory)?,
        branch: args.branch.map(Into::into),
        message: args.message,
        author: args.author.or_else(user).unwrap_or_default(),
        exclude: args.exclude,
        gitignore: args.gitignore,
        no_times: args.no_times,
        expect: args.expect.map(Into::into),
        durability: args.durability.into(),
        force: args.force,
    });
    let committed = answer!(session.call(request), Committed);
    let out = &mut session.output;
    if out.json {
        out.json(&committed)?;
        return Ok(done(&committed.warnings));
    }
    let id = out.ink(Ink::Id, &committed.commit.short());
    let branch = out.ink(Ink::Name, &quote::name(committed.branch.as_bytes()));
    if committed.unchanged {
        out.line(format!("[{branch} {id}] nothing has changed"))?;
        return Ok(done(&committed.warnings));
    }
    out.line(format!(
        "[{branch} {id}] {}, {}",
        plural(committed.entries.files, "file", "files"),
        show(committed.entries.bytes)
    ))?;
    out.remark(format!(
        "{} read ({}), {} stored ({})",
        plural(committed.files_read, "file", "files"),
        show(committed.bytes_read),
        plural(committed.new_objects, "new object", "new objects"),
        show(committed.new_bytes)
    ))?;
    if committed.warnings.count > 0 {
        out.remark(plural(committed.warnings.count, "warning", "warnings"))?;
    }
    Ok(done(&committed.warnings))
}

/// The name of the user, as login leaves it in the environment.
pub(super) fn user() -> Option<String> {
    ["USER", "LOGNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok())
}

pub fn status(session: &mut Session, args: &StatusArgs) -> Result<Exit, Stop> {
    let request = Request::Status(StatusRequest {
        directory: absolute(&args.directory)?,
    });
    let status = answer!(session.call(request), Status);
    let out = &mut session.output;
    if out.json {
        out.json(&status)?;
        return Ok(done(&status.warnings));
    }
    if !args.nul {
        let branch = out.ink(Ink::Name, &quote::name(status.branch.as_bytes()));
        let head = out.ink(Ink::Id, &status.head.short());
        out.remark(format!("on {branch} at {head}"))?;
    }
    changes::print(out, &status.changes, args.nul)?;
    if !args.nul && !status.changes.iter().any(changes::is_shown) {
        out.remark("nothing has changed")?;
    }
    Ok(done(&status.warnings))
}

//! `restore` and `materialize`: from the store into real directories.

use helios_engine::ops::{MaterializeRequest, Request, RestoreRequest, RestoredHow};

use super::{answer, done, plural};
use crate::cli::args::{MaterializeArgs, RestoreArgs};
use crate::cli::exit::Exit;
use crate::cli::output::Ink;
use crate::cli::quote;
use crate::cli::session::{Session, Stop, absolute};
use crate::cli::size::show;

pub fn restore(session: &mut Session, args: RestoreArgs) -> Result<Exit, Stop> {
    let extra = args.extra();
    let request = Request::Restore(RestoreRequest {
        revision: args.revision.into(),
        directory: absolute(&args.directory)?,
        paths: args.paths.into_iter().map(Into::into).collect(),
        dry_run: args.dry_run,
        extra,
        no_backup: args.no_backup,
        force: args.force,
    });
    let restored = answer!(session.call(request), Restored);
    let out = &mut session.output;
    if out.json {
        out.json(&restored)?;
        return Ok(done(&restored.warnings));
    }
    if restored.dry_run {
        for entry in &restored.entries {
            let (ink, letter) = match entry.how {
                RestoredHow::Created => (Ink::Added, "A"),
                RestoredHow::Removed => (Ink::Removed, "D"),
                RestoredHow::Replaced => (Ink::Changed, "M"),
                RestoredHow::Metadata => (Ink::Changed, "m"),
            };
            let letter = out.ink(ink, letter);
            out.line(format!("{letter}\t{}", quote::name(entry.path.as_bytes())))?;
        }
    }
    let would = if restored.dry_run { "would be " } else { "" };
    let id = out.ink(Ink::Id, &restored.commit.short());
    out.remark(format!(
        "{} {would}written, {} adjusted, {} removed; {} {} at {id}",
        plural(restored.written, "entry", "entries"),
        restored.adjusted,
        restored.removed,
        quote::name(restored.directory.as_bytes()),
        if restored.dry_run { "would be" } else { "is" },
    ))?;
    if let Some(backup) = restored.backup {
        let name = match &restored.backup_branch {
            Some(branch) => quote::name(branch.as_bytes()),
            None => backup.short(),
        };
        out.remark(format!("undo with: helios restore {name}"))?;
    }
    Ok(done(&restored.warnings))
}

pub fn materialize(session: &mut Session, args: MaterializeArgs) -> Result<Exit, Stop> {
    let request = Request::Materialize(MaterializeRequest {
        revision: args.revision.into(),
        directory: absolute(&args.directory)?,
        include: args.include,
        jobs: args.jobs.map(usize::from),
    });
    let made = answer!(session.call(request), Materialized);
    let out = &mut session.output;
    if out.json {
        out.json(&made)?;
        return Ok(done(&made.warnings));
    }
    let id = out.ink(Ink::Id, &made.commit.short());
    out.remark(format!(
        "{} ({}) of {id} in {}",
        plural(made.entries.files, "file", "files"),
        show(made.entries.bytes),
        quote::name(made.directory.as_bytes())
    ))?;
    Ok(done(&made.warnings))
}

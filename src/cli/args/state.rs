//! Arguments of the commands about the states of directories.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use helios_engine::ops::{Durability, ExtraFiles};

use super::Name;
use crate::cli::time;

/// When a change is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DurabilityArg {
    /// Others see it; it reaches the device within milliseconds.
    Visible,
    /// It survives power loss.
    Durable,
}

impl From<DurabilityArg> for Durability {
    fn from(class: DurabilityArg) -> Durability {
        match class {
            DurabilityArg::Visible => Durability::Visible,
            DurabilityArg::Durable => Durability::Durable,
        }
    }
}

/// `helios commit`
#[derive(Debug, Args)]
#[command(
    after_help = "Everything is committed by default, untracked and ignored by git included. \
Patterns in .heliosignore files and --exclude leave paths out.\n
Examples:
  helios commit -m 'step 12'
  helios commit ~/project -b agent-7 --exclude target --exclude '*.log'
  helios commit --expect 9f86d081 || echo 'someone else committed'"
)]
pub struct CommitArgs {
    /// Directory to commit
    #[arg(value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub directory: PathBuf,
    /// Branch to commit to [default: the one the directory follows, or main]
    #[arg(short, long, value_name = "BRANCH")]
    pub branch: Option<Name>,
    /// Message
    #[arg(
        short,
        long,
        value_name = "MSG",
        default_value = "",
        hide_default_value = true
    )]
    pub message: String,
    /// Who commits [default: the name of the user]
    #[arg(long, env = "HELIOS_AUTHOR", value_name = "NAME")]
    pub author: Option<String>,
    /// Leave out paths that match, as in an ignore file; may be repeated
    #[arg(long, value_name = "PAT")]
    pub exclude: Vec<String>,
    /// Also leave out what .gitignore files say
    #[arg(long)]
    pub gitignore: bool,
    /// Leave out modification times, so that equal contents give equal trees
    #[arg(long)]
    pub no_times: bool,
    /// Only if the branch is at this revision; otherwise nothing happens and the exit code is 4
    #[arg(long, value_name = "REV")]
    pub expect: Option<Name>,
    /// When the commit is done: others see it, or it survives power loss
    #[arg(long, value_name = "CLASS", default_value = "durable")]
    pub durability: DurabilityArg,
    /// Also commit / or a home directory
    #[arg(long)]
    pub force: bool,
}

/// `helios status`
#[derive(Debug, Args)]
#[command(
    after_help = "A added, D removed, M content changed, T another kind of file, m mode, owner or time only.\n
Examples:
  helios status
  helios status ~/project -z | xargs -0 -n1 echo"
)]
pub struct StatusArgs {
    /// Directory
    #[arg(value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub directory: PathBuf,
    /// End names with NUL and do not quote them
    #[arg(short = 'z')]
    pub nul: bool,
}

/// `helios branch`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  helios branch                         list
  helios branch fix main~3              start `fix` three commits back
  helios branch agent --count 100       agent-0 ... agent-99
  helios branch -f fix v1               move `fix` to v1
  helios branch try main --expires 7d   one that goes after a week (see `helios forget --expired`)
  helios branch try --expires never     ... or stays after all
  helios branch -m fix repair           rename
  helios branch -d repair               delete")]
pub struct BranchArgs {
    /// Branch to make; without it all are listed
    #[arg(conflicts_with_all = ["delete", "rename"])]
    pub name: Option<Name>,
    /// Where it starts [default: the branch this directory follows, or main]
    #[arg(value_name = "REV", requires = "name")]
    pub revision: Option<Name>,
    /// Delete these branches
    #[arg(short, long, value_name = "NAME", num_args = 1..)]
    pub delete: Vec<Name>,
    /// Rename a branch
    #[arg(short = 'm', long = "rename", value_names = ["OLD", "NEW"], num_args = 2, conflicts_with_all = ["delete", "force"])]
    pub rename: Vec<Name>,
    /// Move a branch that exists
    #[arg(short, long)]
    pub force: bool,
    /// Make this many: NAME-0, NAME-1, ...; where NAME has an `n` in braces, the number goes there
    #[arg(long, value_name = "N", requires = "name", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub count: Option<u32>,
    /// When it goes by itself: a span (12h, 7d), a date or `never`; a branch that exists only changes in this
    #[arg(long, value_name = "WHEN", requires = "name", value_parser = time::parse_until)]
    pub expires: Option<u64>,
}

/// `helios tag`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  helios tag                list
  helios tag v1             name the present head
  helios tag -f v1 main~2   name another commit
  helios tag -d v1          delete")]
pub struct TagArgs {
    /// Tag to make; without it all are listed
    #[arg(conflicts_with = "delete")]
    pub name: Option<Name>,
    /// What it names [default: the branch this directory follows, or main]
    #[arg(value_name = "REV", requires = "name")]
    pub revision: Option<Name>,
    /// Delete these tags
    #[arg(short, long, value_name = "NAME", num_args = 1..)]
    pub delete: Vec<Name>,
    /// Move a tag that exists
    #[arg(short, long)]
    pub force: bool,
}

/// `helios log`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  helios log
  helios log agent-7 -n 10
  helios log --since 2h
  helios log --since 2026-11-20 --json | jq -r '.commits[].message'")]
pub struct LogArgs {
    /// Where to start [default: the branch this directory follows, or main]
    #[arg(value_name = "REV")]
    pub revision: Option<Name>,
    /// At most this many commits
    #[arg(short = 'n', long = "limit", value_name = "N")]
    pub limit: Option<u64>,
    /// Only commits after this: an age (10m, 2h, 3d) or a date (2026-11-20, 2026-11-20T12:00:00Z)
    #[arg(long, value_name = "TIME", value_parser = time::parse_since)]
    pub since: Option<u64>,
    /// One line for each commit
    #[arg(long)]
    pub oneline: bool,
}

/// `helios ls`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  helios ls
  helios ls main:src -l
  helios ls v1 -R -z | xargs -0 -n1 echo")]
pub struct LsArgs {
    /// REV or REV:PATH [default: the branch this directory follows, or main]
    #[arg(value_name = "REV[:PATH]")]
    pub revision: Option<Name>,
    /// Also mode, owner, size, time and id
    #[arg(short, long)]
    pub long: bool,
    /// Also everything below
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// End names with NUL and do not quote them
    #[arg(short = 'z', conflicts_with = "long")]
    pub nul: bool,
}

/// `helios cat`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  helios cat main:src/main.rs
  helios cat 'main@{10m}:notes.txt' > notes.old")]
pub struct CatArgs {
    /// The file
    #[arg(value_name = "REV:PATH")]
    pub revision: Name,
    /// Write to this file instead of standard output; it appears when it is complete
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `helios diff`
#[derive(Debug, Args)]
#[command(
    after_help = "A added, D removed, M content changed, T another kind of file, m mode, owner or time only.\n
Examples:
  helios diff main~1 main
  helios diff main                    what has changed in this directory since
  helios diff main agent-7 -p -- src
  helios diff v1 v2 --name-status -z"
)]
pub struct DiffArgs {
    /// Old side: REV or REV:PATH
    #[arg(value_name = "REV")]
    pub from: Name,
    /// New side [default: the present directory as it is now]
    #[arg(value_name = "REV")]
    pub to: Option<Name>,
    /// Only these paths and what is below them
    #[arg(last = true, value_name = "PATH")]
    pub paths: Vec<OsString>,
    /// Lines added and removed for each file
    #[arg(long, group = "form")]
    pub stat: bool,
    /// A letter and the name for each change (the default)
    #[arg(long, group = "form")]
    pub name_status: bool,
    /// The changed lines
    #[arg(short, long, group = "form")]
    pub patch: bool,
    /// End names with NUL and do not quote them
    #[arg(short = 'z', conflicts_with_all = ["stat", "patch"])]
    pub nul: bool,
    /// Exit with 1 when something differs
    #[arg(long)]
    pub exit_code: bool,
}

/// `helios merge`
#[derive(Debug, Args)]
#[command(
    after_help = "What only one side has changed since their last common commit is taken from there, and so is what \
both have changed alike. A name that both have changed in different ways is a conflict: then nothing happens, the names \
are listed, and the exit code is 10. Contents are never merged. Of files that differ in nothing but their time the \
newer stays. No directory is touched: `helios restore BRANCH` brings one to the result.\n
Examples:
  helios merge agent-7
  helios merge agent-7 --into main -m 'take what agent-7 did'
  helios merge agent-7 -n                       what would happen
  helios merge agent-7 --json | jq -r '.conflicts[].path'
  helios branch -f main agent-7                 take its state as a whole instead"
)]
pub struct MergeArgs {
    /// What to merge
    #[arg(value_name = "REV")]
    pub revision: Name,
    /// Branch that takes it [default: the one this directory follows, or main]
    #[arg(long, value_name = "BRANCH")]
    pub into: Option<Name>,
    /// Message of the commit [default: what was merged]
    #[arg(short, long, value_name = "MSG")]
    pub message: Option<String>,
    /// Who merges [default: the name of the user]
    #[arg(long, env = "HELIOS_AUTHOR", value_name = "NAME")]
    pub author: Option<String>,
    /// Only show what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Make a commit even where moving the branch would do
    #[arg(long)]
    pub no_ff: bool,
    /// Merge from an empty base where the histories have nothing in common, or what they have was forgotten
    #[arg(long)]
    pub allow_unrelated: bool,
    /// When the merge is done: others see it, or it survives power loss
    #[arg(long, value_name = "CLASS", default_value = "durable")]
    pub durability: DurabilityArg,
}

/// `helios restore`
#[derive(Debug, Args)]
#[command(
    after_help = "What is replaced is committed first, to the branch `backup/BRANCH`, so that a restore can be undone. \
Ignored paths are never touched.\n
Examples:
  helios restore main~1
  helios restore v1 ~/project -n
  helios restore main -- src/lib.rs docs
  helios restore backup/main    undo"
)]
pub struct RestoreArgs {
    /// Revision to restore
    #[arg(value_name = "REV")]
    pub revision: Name,
    /// Directory
    #[arg(value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub directory: PathBuf,
    /// Only these paths and what is below them
    #[arg(last = true, value_name = "PATH")]
    pub paths: Vec<OsString>,
    /// Only show what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Remove files the revision does not have; this is the default unless paths are given
    #[arg(long, conflicts_with = "keep_extra")]
    pub delete: bool,
    /// Keep files the revision does not have
    #[arg(long)]
    pub keep_extra: bool,
    /// Do not commit the present state first
    #[arg(long)]
    pub no_backup: bool,
    /// Also restore into / or a home directory
    #[arg(long)]
    pub force: bool,
}

impl RestoreArgs {
    /// What happens to files the revision does not have.
    pub fn extra(&self) -> ExtraFiles {
        match (self.delete, self.keep_extra) {
            (true, _) => ExtraFiles::Delete,
            (_, true) => ExtraFiles::Keep,
            _ => ExtraFiles::Usual,
        }
    }
}

/// `helios materialize`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  helios materialize main /tmp/copy
  helios materialize agent-7:src /tmp/src --include '*.rs' --include Cargo.toml")]
pub struct MaterializeArgs {
    /// REV or REV:PATH
    #[arg(value_name = "REV")]
    pub revision: Name,
    /// Directory to make; it may exist when it is empty
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Only paths that match; may be repeated
    #[arg(long, value_name = "PAT")]
    pub include: Vec<String>,
    /// Worker threads [default: one per core]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub jobs: Option<u16>,
}

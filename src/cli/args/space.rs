//! Arguments of the commands about what is kept and what it costs.

use clap::Args;

use super::Name;
use crate::cli::time;

/// `helios why`
#[derive(Debug, Args)]
#[command(
    after_help = "Lists every branch and tag with the newest of its commits that holds it and the paths in that commit, \
then pins and directories. What nothing keeps alive may be collected.\n
Examples:
  helios why main~3:data/model.bin
  helios why 9f86d081
  helios why $(b3sum --no-names video.mp4) -n 100"
)]
pub struct WhyArgs {
    /// Id of a content, directory, commit or chunk (at least 4 digits of it), REV or REV:PATH
    #[arg(value_name = "ID|REV[:PATH]")]
    pub what: Name,
    /// At most this many lines
    #[arg(short = 'n', long = "limit", value_name = "N", default_value = "20")]
    pub limit: u64,
}

/// `helios du`
#[derive(Debug, Args)]
#[command(
    after_help = "`unique` is what no other name keeps: what a name alone costs. `shared` is the rest. A branch counts with \
its history and the earlier states it remembers; another revision is one state, and its `unique` what no other commit holds.\n
Examples:
  helios du
  helios du main agent-7 v1
  helios du main~10
  helios du --json | jq '.rows | sort_by(-.unique.bytes)[:10]'"
)]
pub struct DuArgs {
    /// Branches, tags or other revisions [default: all branches and tags; pins and directories in sums]
    #[arg(value_name = "REV")]
    pub revisions: Vec<Name>,
}

/// `helios forget`
#[derive(Debug, Args)]
#[command(
    after_help = "A commit stays if one of the rules keeps it; the newest of each branch always does. Spans count \
from the newest commit of the branch. What a forgotten commit held stays as long as another branch, tag or pin keeps \
it: tags keep their own commits, but no longer what was forgotten before them.\n
Examples:
  helios forget --keep-last 100 -n          what would go, on all branches
  helios forget main --keep-within 7d --keep-tag 'release-*'
  helios forget agent-7 agent-8 --keep-last 1"
)]
pub struct ForgetArgs {
    /// Branches [default: all]
    #[arg(value_name = "BRANCH")]
    pub branches: Vec<Name>,
    /// Keep the newest N commits of each branch
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), required_unless_present_any = ["keep_within", "keep_tag"])]
    pub keep_last: Option<u64>,
    /// Keep commits at most this much older than the newest of their branch (36h, 7d, 4w)
    #[arg(long, value_name = "SPAN", value_parser = time::parse_span)]
    pub keep_within: Option<u64>,
    /// Keep commits with a tag that fits this pattern; may be repeated
    #[arg(long, value_name = "PAT")]
    pub keep_tag: Vec<String>,
    /// Only show what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

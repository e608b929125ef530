//! Arguments of the commands about what is kept and what it costs.

use clap::Args;

use super::Name;
use crate::cli::{size, time};

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
  helios forget agent-7 agent-8 --keep-last 1
  helios forget --expired                   branches whose time is over, see `helios branch --expires`"
)]
pub struct ForgetArgs {
    /// Branches [default: all]
    #[arg(value_name = "BRANCH")]
    pub branches: Vec<Name>,
    /// Keep the newest N commits of each branch
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), required_unless_present_any = ["keep_within", "keep_tag", "expired"])]
    pub keep_last: Option<u64>,
    /// Keep commits at most this much older than the newest of their branch (36h, 7d, 4w)
    #[arg(long, value_name = "SPAN", value_parser = time::parse_span)]
    pub keep_within: Option<u64>,
    /// Keep commits with a tag that fits this pattern; may be repeated
    #[arg(long, value_name = "PAT")]
    pub keep_tag: Vec<String>,
    /// First delete the branches that have expired; without a rule, nothing else
    #[arg(long)]
    pub expired: bool,
    /// Then forget what nothing keeps alive any more and give its space back, as `helios gc` does
    #[arg(long, conflicts_with = "dry_run")]
    pub prune: bool,
    /// Only show what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// `helios quota`
#[derive(Debug, Args)]
#[command(
    after_help = "A quota counts what the branches whose names begin with PREFIX reached when it was measured, each content \
once, and what commits on them have stored since. What was deleted or forgotten counts until it is measured again. \
A commit that would exceed it is refused with exit code 9.\n
Examples:
  helios quota                       list
  helios quota agent- 20G            branches agent-0, agent-1, ... together
  helios quota agent- none           no limit any more
  helios quota --measure             after branches were deleted or old commits forgotten"
)]
pub struct QuotaArgs {
    /// Beginning of the names of branches; an empty one is for all
    #[arg(value_name = "PREFIX", conflicts_with = "measure")]
    pub prefix: Option<Name>,
    /// Most that they may use, or `none`
    #[arg(value_name = "BYTES|none", value_parser = limit)]
    pub limit: Option<Limit>,
    /// Count anew what the branches use
    #[arg(long)]
    pub measure: bool,
}

/// A limit, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(pub Option<u64>);

fn limit(text: &str) -> Result<Limit, String> {
    match text {
        "none" => Ok(Limit(None)),
        size => size::parse(size).map(|bytes| Limit(Some(bytes))),
    }
}

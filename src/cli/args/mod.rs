//! The command line as `clap` sees it: every command, option and example. Help, completions and man pages are
//! generated from here and from nowhere else.

mod benchmark;
mod content;
mod device;
mod serve;
mod space;
mod state;
mod store;
mod top;
mod upkeep;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::TypedValueParser;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};

pub use benchmark::BenchmarkArgs;
pub use content::{ContentArgs, GetArgs, PutArgs};
pub use device::{BindArgs, DeviceArgs, DeviceCommand, HugepagesArgs};
pub use serve::ServeArgs;
pub use space::{DuArgs, ForgetArgs, QuotaArgs, WhyArgs};
pub use state::{
    BranchArgs, CatArgs, CommitArgs, DiffArgs, DurabilityArg, LogArgs, LsArgs, MaterializeArgs, MergeArgs,
    RestoreArgs, StatusArgs, TagArgs,
};
pub use store::{CheckArgs, InitArgs};
pub use top::TopArgs;
pub use upkeep::{GcArgs, ScrubArgs};

use super::{exit, size, time};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const REVISIONS: &str = "Revisions:
  main, v1                    a branch or a tag
  9f86d081                    the beginning of a commit's id, as long as it is unique
  REV~2                       two commits before REV
  BRANCH@{10m}                what the branch was ten minutes ago
  REV:PATH                    a file or directory of REV";

/// Content-addressed storage with microsecond commits, branches and clones, in user space.
///
/// Helios keeps contents and the states of directories in one file or block device. Equal bytes are stored
/// once, a branch costs nothing, and a commit reads only what has changed.
#[derive(Debug, Parser)]
#[command(
    name = "helios",
    version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("HELIOS_COMMIT"), ")"),
    styles = STYLES,
    max_term_width = 100,
    after_help = "`helios help COMMAND` explains a command and shows examples.",
    after_long_help = format!(
        "{REVISIONS}\n\n{}\n\nExamples:\n  helios commit ~/project -m 'before the upgrade'\n  helios log\n  \
         helios branch agent --count 100\n  helios diff main~1 main\n  helios materialize main /tmp/copy",
        exit::HELP
    )
)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The form of logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: one object in a line.
    Json,
}

/// How files and block devices are accessed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum BackendArg {
    /// `io_uring` where the system allows it, otherwise threads.
    #[default]
    Auto,
    /// `io_uring`, or fail.
    Uring,
    /// Worker threads.
    Threads,
}

/// What reactors do while there is nothing to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum PollArg {
    /// Sleep when spinning does not pay.
    #[default]
    Adaptive,
    /// Never sleep.
    Busy,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Store to use: a file, a block device, or an address like `file:PATH`
    ///
    /// Default: the sparse file `helios/store.helios` under `$XDG_DATA_HOME` (or `~/.local/share`), which is
    /// created on first use.
    #[arg(
        long,
        global = true,
        env = "HELIOS_STORE",
        value_name = "URI",
        help_heading = "Store options"
    )]
    pub store: Option<OsString>,
    /// Memory for cached contents [default: 256M for a server, 32M for a command that opens the store itself]
    #[arg(
        long,
        global = true,
        env = "HELIOS_CACHE",
        value_name = "SIZE",
        value_parser = size::parse,
        help_heading = "Store options"
    )]
    pub cache: Option<u64>,
    /// Reactors: pinned threads that drive the device, each with its own log [default: one per core]
    #[arg(long, global = true, env = "HELIOS_REACTORS", value_name = "N", help_heading = "Store options",
        value_parser = clap::value_parser!(u16).range(1..=256))]
    pub reactors: Option<u16>,
    /// What reactors do while there is nothing to do: `adaptive` sleeps when waiting longer would not pay, `busy` never
    /// does and keeps a core per reactor at work
    #[arg(
        long,
        global = true,
        env = "HELIOS_POLL",
        value_name = "MODE",
        default_value = "adaptive",
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Store options"
    )]
    pub poll: PollArg,
    /// Time after which a command of an NVMe device driven by Helios itself is aborted: 15s, 2m [default: 15s]
    #[arg(long, global = true, env = "HELIOS_COMMAND_TIMEOUT", value_name = "SPAN", help_heading = "Store options",
        value_parser = time::parse_span)]
    pub command_timeout: Option<u64>,
    /// How the device is accessed
    #[arg(
        long,
        global = true,
        env = "HELIOS_BACKEND",
        value_name = "NAME",
        default_value = "auto",
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Store options"
    )]
    pub backend: BackendArg,
    /// Do not let a process that owns the store do the work: open the store here, or fail
    #[arg(long, global = true, env = "HELIOS_NO_ATTACH", value_parser = clap::builder::BoolishValueParser::new(),
        help_heading = "Store options")]
    pub no_attach: bool,
    /// Print the result as JSON, with stable field names
    #[arg(long, global = true, help_heading = "Output options")]
    pub json: bool,
    /// Print results only: no remarks, warnings or progress
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Output options"
    )]
    pub quiet: bool,
    /// Say more about what happens inside; twice or thrice for even more
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Output options")]
    pub verbose: u8,
    /// Form of what is logged to standard error: lines of `text`, or `json` objects with their times
    #[arg(
        long,
        global = true,
        env = "HELIOS_LOG_FORMAT",
        value_name = "FORM",
        default_value = "text",
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Output options"
    )]
    pub log_format: LogFormat,
    /// When to use colours
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        help_heading = "Output options"
    )]
    pub color: Color,
    /// Configuration file with defaults for these options and those of `helios serve`
    ///
    /// Default: the first of `helios/config.toml` under `$XDG_CONFIG_HOME` (or `~/.config`) and `/etc/helios/config.toml` that
    /// exists. It is TOML, its keys are the long names of options; flags and environment variables go before it. An empty name
    /// stands for no file.
    #[arg(
        long,
        global = true,
        env = "HELIOS_CONFIG",
        value_name = "FILE",
        value_parser = clap::builder::OsStringValueParser::new().map(PathBuf::from),
        help_heading = "Configuration options"
    )]
    pub config: Option<PathBuf>,
    /// Read no configuration file
    #[arg(long, global = true, help_heading = "Configuration options")]
    pub no_config: bool,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new store
    Init(InitArgs),
    /// Health and space of the store
    #[command(after_help = "Examples:\n  helios info\n  helios info --json | jq .free")]
    Info,
    /// Counters: cache, commit latencies, deduplication, index
    ///
    /// The counters belong to the process that answers: for a command that opened the store itself they begin
    /// at zero. Index and its memory describe the whole store.
    #[command(after_help = "Examples:\n  helios stats\n  helios stats --json | jq .dedup_ratio")]
    Stats,
    /// Verify the store
    Check(CheckArgs),
    /// Forget what nothing keeps alive and give its space back
    Gc(GcArgs),
    /// Verify every extent on the device, and repair from other copies
    Scrub(ScrubArgs),
    /// Store contents and print their ids
    Put(PutArgs),
    /// Write a content to standard output or a file
    Get(GetArgs),
    /// Ask whether contents are stored
    #[command(
        after_help = "Exits with 0 when all are stored and with 3 when one is not.\n\n\
        Examples:\n  helios exists $(b3sum --no-names video.mp4) && echo known"
    )]
    Exists(ContentArgs),
    /// Keep contents, whatever else refers to them
    #[command(
        after_help = "Pins are counted: a content is kept until it was unpinned as often as pinned.\n\n\
        Examples:\n  helios pin $(helios put video.mp4 -q)"
    )]
    Pin(ContentArgs),
    /// Take a pin away
    #[command(after_help = "Examples:\n  helios unpin $(b3sum --no-names video.mp4)")]
    Unpin(ContentArgs),
    /// Record the state of a directory on a branch
    Commit(CommitArgs),
    /// Show what differs between a directory and the branch it follows
    Status(StatusArgs),
    /// List, make, move, rename or delete branches
    Branch(BranchArgs),
    /// List, make or delete tags
    Tag(TagArgs),
    /// Show which names keep a content, directory, commit or chunk alive
    Why(WhyArgs),
    /// Show how many bytes branches and tags keep, alone and together
    Du(DuArgs),
    /// List, set or measure limits for branches
    Quota(QuotaArgs),
    /// Drop old commits from the histories of branches
    Forget(ForgetArgs),
    /// Show the history of a revision
    Log(LogArgs),
    /// List a directory of a revision
    Ls(LsArgs),
    /// Write a file of a revision to standard output
    Cat(CatArgs),
    /// Show what differs between two revisions, or a revision and a directory
    Diff(DiffArgs),
    /// Take what a revision has changed into a branch
    Merge(MergeArgs),
    /// Bring a directory back to a revision, writing only what differs
    Restore(RestoreArgs),
    /// Make a new directory from a revision
    Materialize(MaterializeArgs),
    /// Own the store and work for all other commands and clients
    Serve(ServeArgs),
    /// Watch the owner of the store at work
    Top(TopArgs),
    /// Measure this machine: whether Helios reaches its goals on it
    Benchmark(BenchmarkArgs),
    /// Prepare NVMe devices and the machine for user space
    Device(DeviceArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Examples:\n  \
        helios completions bash > ~/.local/share/bash-completion/completions/helios\n  \
        helios completions zsh > \"${fpath[1]}/_helios\"\n  \
        helios completions fish > ~/.config/fish/completions/helios.fish")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages of all commands into a directory
    #[command(after_help = "Examples:\n  helios man ~/.local/share/man/man1 && man helios-commit")]
    Man {
        /// Directory, made when missing
        directory: PathBuf,
    },
}

/// A revision or a name, as the user wrote it.
pub type Name = OsString;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// Goal: the definition has no contradictions (`clap` checks names, positions and defaults).
    #[test]
    fn definition_is_sound() {
        Cli::command().debug_assert();
    }

    /// Goal: no text is cut where `clap` takes braces around an `n` for the end of a line.
    #[test]
    fn no_line_is_broken_by_braces() {
        for command in Cli::command().get_subcommands() {
            let help = command.clone().render_long_help().to_string();
            assert!(!help.contains("agent-\n"), "{help}");
        }
    }

    /// Goal: every command says what it does and shows an example, commands of commands included.
    #[test]
    fn every_command_has_an_example() {
        let definition = Cli::command();
        let commands = definition.get_subcommands();
        for command in commands.flat_map(|command| std::iter::once(command).chain(command.get_subcommands()))
        {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} does not say what it does");
            let after = command
                .get_after_long_help()
                .or(command.get_after_help())
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                after.contains("Examples:") && after.contains("helios "),
                "{name} shows no example"
            );
        }
    }
}

//! Arguments of `helios benchmark`.

use std::path::PathBuf;

use clap::Args;

/// `helios benchmark`
#[derive(Debug, Args)]
#[command(
    after_help = "The validation takes about three minutes and 4 GiB of DIR, on a machine with nothing else to do; its own store and \
trees are new, and are removed. It needs git for one row. It exits with 0 if every goal is met and with 12 if one is not, or if \
--quick was given.\n
Examples:
  helios benchmark --phase0-validation
  helios benchmark --phase0-validation --dir /data --json > validation.json
  helios benchmark --phase0-validation --quick"
)]
pub struct BenchmarkArgs {
    /// Measure the goals that Helios has set itself on this machine, and say whether all are met
    #[arg(long)]
    pub phase0_validation: bool,
    /// Measure each with little work, to see that it can be measured: never a go
    #[arg(long, requires = "phase0_validation")]
    pub quick: bool,
    /// Directory on the file system to measure, for everything that is written [default: the working directory]
    #[arg(long, value_name = "DIR", requires = "phase0_validation")]
    pub dir: Option<PathBuf>,
}

//! Arguments of the commands about a whole store.

use clap::Args;

use crate::cli::size;

/// `helios init`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  helios init                          the default store, a sparse file in your home
  helios init agents.helios --size 1.5T
  helios init /dev/nvme1n1 --force     a whole disk, whatever is on it")]
pub struct InitArgs {
    /// Where: a file, a block device, or an address like `file:PATH` [default: --store, or the default store]
    pub uri: Option<std::ffi::OsString>,
    /// Capacity; a file is sparse and takes what is stored in it [default: 100G, or the whole device]
    #[arg(long, value_parser = size::parse, value_name = "SIZE")]
    pub size: Option<u64>,
    /// Overwrite what is there; everything in it is lost
    #[arg(long)]
    pub force: bool,
}

/// `helios check`
#[derive(Debug, Args)]
#[command(
    after_help = "Exits with 0 when the store is sound and with 7 when something is damaged.\n
Examples:
  helios check
  helios check --read-data --json | jq '.damage[].message'"
)]
pub struct CheckArgs {
    /// Also read and verify every content
    #[arg(long)]
    pub read_data: bool,
}

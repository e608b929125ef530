//! Arguments of the commands that keep a store in good order.

use std::path::PathBuf;

use clap::Args;

use crate::cli::size;

/// `helios gc`
#[derive(Debug, Args)]
#[command(
    after_help = "What no branch, tag, pin or directory leads to is forgotten, expired branches first, and its space is \
given back: a store does the same by itself when space runs low. `helios forget` shortens histories before.\n
Examples:
  helios gc -n            what would be forgotten
  helios gc
  helios gc --json | jq .freed_bytes"
)]
pub struct GcArgs {
    /// Only show what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// `helios scrub`
#[derive(Debug, Args)]
#[command(
    after_help = "A scrub that is ended in the middle goes on from there the next time. Damaged extents are listed with what \
leads to them. Any copy is as good as the original: name files, directories or other stores that may have one.\n
Examples:
  helios scrub
  helios scrub --rate 100M
  helios scrub --repair-from /backup/project --repair-from /backup/store.helios"
)]
pub struct ScrubArgs {
    /// Read at most this much in a second
    #[arg(long, value_name = "BYTES", value_parser = size::parse)]
    pub rate: Option<u64>,
    /// Begin at the beginning, even if an earlier scrub was ended in the middle
    #[arg(long)]
    pub restart: bool,
    /// Write damaged extents anew from copies in this file, directory or store; may be repeated
    #[arg(long, value_name = "PATH")]
    pub repair_from: Vec<PathBuf>,
}

//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Compares Helios with what would be used instead, and with the limits of the hardware, on this machine.
#[derive(Debug, Parser)]
#[command(name = "scripts/compare", max_term_width = 100)]
pub struct Options {
    /// Tiny sizes: shows that everything works; the figures mean nothing.
    #[arg(long)]
    pub quick: bool,
    /// Rounds of every contest; subjects take turns in each [default: 5, with --quick 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub repetitions: Option<u16>,
    /// Only these workloads.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub workload: Vec<String>,
    /// Only these peers (and Helios, and the ceilings).
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub peers: Vec<String>,
    /// Where everything is written; its file system and device are what is measured. Removed at the end.
    #[arg(long, value_name = "DIR", default_value = "target")]
    pub dir: PathBuf,
    /// Writes the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Writes the report as one page of HTML.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Lists workloads and ends.
    #[arg(long)]
    pub list: bool,
    /// What contents and choices are made from.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// The program `helios`; without it, rows that need it are skipped.
    #[arg(long, value_name = "PATH", env = "HELIOS")]
    pub helios: Option<PathBuf>,
    /// How `scripts/compare` has built this and the program; told in the report.
    #[arg(
        long,
        value_name = "TEXT",
        env = "HELIOS_COMPARE_BUILT",
        default_value = "not by scripts/compare"
    )]
    pub built: String,
    /// What `scripts/compare` has downloaded: packages, and a Python with agentfs-sdk.
    #[arg(long, value_name = "DIR", env = "HELIOS_COMPARE_CACHE")]
    pub cache: Option<PathBuf>,
}

//! Arguments of the commands about contents.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;
use helios_engine::format::ContentId;

use super::state::DurabilityArg;
use crate::cli::size;

/// `helios put`
#[derive(Debug, Args)]
#[command(after_help = "The id is the BLAKE3 hash of the bytes: what b3sum prints.\n
Examples:
  helios put video.mp4 notes.txt
  tar c src | helios put
  id=$(helios put -q model.bin)")]
pub struct PutArgs {
    /// Files; `-` or none: standard input
    #[arg(value_name = "FILE")]
    pub files: Vec<OsString>,
    /// Also pin each content
    #[arg(long)]
    pub pin: bool,
    /// When a put is done: others see it, or it survives power loss
    #[arg(long, value_name = "CLASS", default_value = "durable")]
    pub durability: DurabilityArg,
}

/// `helios get`
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  helios get 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 > video.mp4
  helios get ID -o video.mp4
  helios get ID --offset 1G --length 64K | xxd")]
pub struct GetArgs {
    /// Id of the content: 64 hexadecimal digits
    #[arg(value_parser = content_id)]
    pub id: ContentId,
    /// Write to this file instead of standard output; it appears when it is complete
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// First byte
    #[arg(long, value_name = "SIZE", value_parser = size::parse, default_value = "0", hide_default_value = true)]
    pub offset: u64,
    /// Bytes at most [default: to the end]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub length: Option<u64>,
}

/// `helios exists`, `pin`, `unpin`
#[derive(Debug, Args)]
pub struct ContentArgs {
    /// Ids of contents: 64 hexadecimal digits each
    #[arg(required = true, value_name = "ID", value_parser = content_id)]
    pub ids: Vec<ContentId>,
}

fn content_id(text: &str) -> Result<ContentId, String> {
    text.parse()
        .map_err(|error: helios_engine::format::ParseIdError| error.to_string())
}

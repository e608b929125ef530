//! Arguments of `helios serve`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

/// `helios serve`
#[derive(Debug, Args)]
#[command(
    after_help = "The store has one owner at a time. While `helios serve` owns it, every other command finds it through the lock \
file and lets it do the work, with the same output and exit codes. SIGTERM or ctrl-C ends it: what is under way is finished, \
and the store is closed.\n
Examples:
  helios serve
  helios serve --store nvme:0000:5e:00.0/1 --control unix:/run/helios/control
  helios serve --allow-uid 1001"
)]
pub struct ServeArgs {
    /// Where clients come in [default: beside the store's lock file]
    #[arg(long, env = "HELIOS_CONTROL", value_name = "unix:PATH", value_parser = OsStringValueParser::new().try_map(unix))]
    pub control: Option<PathBuf>,
    /// Lets processes of this user in, besides those of the server's own; may be repeated
    #[arg(long, value_name = "UID")]
    pub allow_uid: Vec<u32>,
}

fn unix(address: OsString) -> Result<PathBuf, String> {
    let path = address
        .as_bytes()
        .strip_prefix(b"unix:")
        .filter(|path| !path.is_empty());
    match path {
        Some(path) => Ok(PathBuf::from(OsString::from_vec(path.to_vec()))),
        None => Err(format!(
            "it must be `unix:` and a path, as in unix:{}",
            OsStr::from_bytes(address.as_bytes()).display()
        )),
    }
}

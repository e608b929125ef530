//! Arguments of `helios serve`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::cli::size;
use crate::observe::http::Address;
use crate::serve::MEMORY_MIN;

/// `helios serve`
#[derive(Debug, Args)]
#[command(
    after_help = "The store has one owner at a time. While `helios serve` owns it, every other command finds it through the lock \
file and lets it do the work, with the same output and exit codes. SIGTERM or ctrl-C ends it: what is under way is finished, \
and the store is closed.\n
With --metrics it answers HTTP: /metrics (Prometheus text format), /healthz (JSON: live, ready, degraded, and why; 503 if not \
ready), /livez (503 if a reactor hangs) and /readyz. None of it is encrypted or asks who is there: keep it on loopback or a \
network of your own.\n
Under systemd it says when it is ready and feeds the watchdog while its reactors turn. Sockets that systemd passes are used \
in place of --control and, with FileDescriptorName=metrics, of --metrics.\n
--memory bounds what clients hold, apart from the cache (--cache) and the index. Near the bound, working trees keep no more of \
their directories than they need; at it, new work is refused for a moment, and what has been changed is kept.\n
All of this can be set in a configuration file too (--config), options of this command in its section [serve].\n
Examples:
  helios serve
  helios serve --store nvme:0000:5e:00.0/1 --control unix:/run/helios/control
  helios serve --allow-uid 1001
  helios serve --metrics tcp:127.0.0.1:9464 --log-format json -v"
)]
pub struct ServeArgs {
    /// Where clients come in [default: beside the store's lock file]
    #[arg(long, env = "HELIOS_CONTROL", value_name = "unix:PATH", value_parser = OsStringValueParser::new().try_map(unix))]
    pub control: Option<PathBuf>,
    /// Where metrics and health are answered over HTTP [default: nowhere]
    #[arg(long, env = "HELIOS_METRICS", value_name = "tcp:HOST:PORT|unix:PATH",
        value_parser = OsStringValueParser::new().try_map(metrics))]
    pub metrics: Option<Address>,
    /// Memory that clients may hold together: working trees, what they write and what they read [default: an eighth of the
    /// machine's, at least 256M]
    #[arg(long, env = "HELIOS_MEMORY", value_name = "SIZE", value_parser = memory)]
    pub memory: Option<u64>,
    /// Lets processes of this user in, besides those of the server's own; may be repeated
    #[arg(long, value_name = "UID")]
    pub allow_uid: Vec<u32>,
}

fn memory(text: &str) -> Result<u64, String> {
    match size::parse(text)? {
        bytes if bytes < MEMORY_MIN => Err(format!(
            "clients could do nothing with less than {}",
            size::show(MEMORY_MIN)
        )),
        bytes => Ok(bytes),
    }
}

fn metrics(address: OsString) -> Result<Address, String> {
    let tcp = address.to_str().and_then(|address| address.strip_prefix("tcp:"));
    let port = |tcp: &str| {
        tcp.rsplit_once(':')
            .map(|(host, port)| (host.to_owned(), port.parse::<u16>()))
    };
    match tcp.map(|tcp| (tcp, port(tcp))) {
        Some((tcp, Some((host, Ok(_))))) if !host.is_empty() => Ok(Address::Tcp(tcp.to_owned())),
        Some(_) => {
            Err("a host and a port must follow `tcp:`, as in tcp:127.0.0.1:9464 or tcp:[::1]:9464".into())
        }
        None => unix(address)
            .map(Address::Unix)
            .map_err(|_| "it must be tcp:HOST:PORT or unix:PATH, as in tcp:127.0.0.1:9464".into()),
    }
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

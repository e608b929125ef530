//! Where SPDK is installed: `SPDK_PREFIX`, else what pkg-config says. Compiled into the build script, and into the
//! crate's tests, which check what a stranger is told.
//!
//! `SPDK_PREFIX` is never ignored: where it points to something unusable, that is said, not covered up by another SPDK.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// The oldest SPDK that the bindings are made for.
pub const OLDEST: Version = Version { major: 20, minor: 7 };

/// Where a prefix may have its libraries: an installation's, and a built source tree's.
const LIBRARY_DIRS: [&str; 5] = [
    "lib",
    "lib64",
    "lib/x86_64-linux-gnu",
    "build/lib",
    "dpdk/build/lib",
];

/// SPDK is numbered by year and month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u32,
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.major, self.minor)
    }
}

/// A usable installation.
#[derive(Debug)]
pub struct Installation {
    pub version: Version,
    /// The directory that has `spdk/nvme.h`.
    pub include: PathBuf,
    /// Directories to look for libraries in, in this order.
    pub libraries: Vec<PathBuf>,
}

impl Installation {
    /// The static library `name`, of SPDK or DPDK.
    pub fn archive(&self, name: &str) -> Option<PathBuf> {
        let file = format!("lib{name}.a");
        self.libraries
            .iter()
            .map(|directory| directory.join(&file))
            .find(|path| path.is_file())
    }
}

/// Why there is none.
#[derive(Debug)]
pub enum Missing {
    /// Neither the variable nor pkg-config knows one.
    Nowhere,
    /// The prefix has no `include/spdk/nvme.h`.
    NoHeaders { place: PathBuf },
    /// There are headers, and a library is not beside them.
    NoLibrary {
        name: &'static str,
        searched: Vec<PathBuf>,
    },
    /// `spdk/version.h` does not say.
    NoVersion { header: PathBuf },
    /// Too old.
    Old { version: Version, place: PathBuf },
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nowhere => write!(
                f,
                "SPDK is not found: SPDK_PREFIX is not set, and pkg-config has no spdk_nvme"
            )?,
            Self::NoHeaders { place } => {
                write!(
                    f,
                    "no SPDK in SPDK_PREFIX={}: it has no include/spdk/nvme.h",
                    place.display()
                )?;
            }
            Self::NoLibrary { name, searched } => {
                write!(
                    f,
                    "SPDK's headers are there, but no static library lib{name}.a is in "
                )?;
                for (row, directory) in searched.iter().enumerate() {
                    write!(f, "{}{}", if row > 0 { ", " } else { "" }, directory.display())?;
                }
                write!(
                    f,
                    "\n  DPDK's libraries (librte_*.a) belong beside SPDK's: `make install` of SPDK may not copy them"
                )?;
            }
            Self::NoVersion { header } => {
                write!(
                    f,
                    "{} does not define SPDK_VERSION_MAJOR and SPDK_VERSION_MINOR",
                    header.display()
                )?;
            }
            Self::Old { version, place } => {
                write!(
                    f,
                    "SPDK {version} in {} is too old: {OLDEST} or later is needed",
                    place.display()
                )?;
            }
        }
        write!(
            f,
            "\n  Where SPDK is installed already: export SPDK_PREFIX=DIR (with include/spdk and lib in it)\n  \
             Otherwise, on Debian:             export SPDK_PREFIX=\"$(scripts/install-spdk)\"\n  \
             Helios does without SPDK when the feature `spdk` (here: `link`) is not asked for."
        )
    }
}

/// Looks at the environment through `variable`, and at pkg-config through `pkg_config`, which gets the arguments and
/// returns what it prints, or nothing if it fails.
pub fn locate(
    variable: impl Fn(&str) -> Option<OsString>,
    pkg_config: impl Fn(&[&str]) -> Option<String>,
) -> Result<Installation, Missing> {
    let (include, mut libraries) = match variable("SPDK_PREFIX").filter(|prefix| !prefix.is_empty()) {
        Some(prefix) => {
            let prefix = PathBuf::from(prefix);
            let include = prefix.join("include");
            if !include.join("spdk/nvme.h").is_file() {
                return Err(Missing::NoHeaders { place: prefix });
            }
            (
                include,
                LIBRARY_DIRS
                    .iter()
                    .map(|directory| prefix.join(directory))
                    .filter(|path| path.is_dir())
                    .collect(),
            )
        }
        None => {
            let flags = pkg_config(&[
                "--cflags-only-I",
                "--libs-only-L",
                "spdk_nvme",
                "spdk_env_dpdk",
                "spdk_sock_posix",
            ])
            .ok_or(Missing::Nowhere)?;
            let include = paths(&flags, "-I").find(|directory| directory.join("spdk/nvme.h").is_file());
            let include = include.unwrap_or_else(|| PathBuf::from("/usr/include"));
            if !include.join("spdk/nvme.h").is_file() {
                return Err(Missing::Nowhere);
            }
            (include, paths(&flags, "-L").collect::<Vec<_>>())
        }
    };
    // A DPDK of its own, such as the distribution's.
    if let Some(flags) = pkg_config(&["--libs-only-L", "libdpdk"]) {
        libraries.extend(paths(&flags, "-L"));
    }
    let header = include.join("spdk/version.h");
    let version = version(&std::fs::read_to_string(&header).unwrap_or_default());
    let version = version.ok_or(Missing::NoVersion { header })?;
    if version < OLDEST {
        return Err(Missing::Old {
            version,
            place: include,
        });
    }
    let found = Installation {
        version,
        include,
        libraries,
    };
    for name in ["spdk_nvme", "spdk_env_dpdk", "rte_eal"] {
        if found.archive(name).is_none() {
            return Err(Missing::NoLibrary {
                name,
                searched: found.libraries,
            });
        }
    }
    Ok(found)
}

fn paths<'a>(flags: &'a str, kind: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
    flags
        .split_whitespace()
        .filter_map(move |flag| flag.strip_prefix(kind))
        .map(|path| Path::new(path).to_owned())
}

fn version(header: &str) -> Option<Version> {
    let number = |name: &str| {
        header.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("#define") && words.next() == Some(name)).then(|| words.next())?
        })
    };
    Some(Version {
        major: number("SPDK_VERSION_MAJOR")?.parse().ok()?,
        minor: number("SPDK_VERSION_MINOR")?.parse().ok()?,
    })
}

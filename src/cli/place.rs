//! Which store a command uses: `--store`, then `HELIOS_STORE`, then a file of the user's own.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use helios_engine::ops::{Class, Failure};

/// A store, and whether it may be made on first use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Address for the engine.
    pub address: OsString,
    /// The default store: it is created when it is missing.
    pub default: bool,
}

/// The store named by the option (which reads the environment), or the default one.
pub fn choose(named: Option<&OsStr>) -> Result<Place, Failure> {
    if let Some(address) = named {
        return Ok(Place {
            address: address.to_owned(),
            default: false,
        });
    }
    let absolute = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let data = absolute("XDG_DATA_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
        .ok_or_else(|| {
            Failure::new(
                Class::Invalid,
                "no store is named, and without HOME there is no default one",
            )
            .with_hint("name one with --store PATH or HELIOS_STORE")
        })?;
    let address = data.join("helios").join("store.helios").into_os_string();
    Ok(Place {
        address,
        default: true,
    })
}

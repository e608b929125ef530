//! A directory for everything that is written, removed when the value goes: at the end, after a failure and after ctrl-C.
//!
//! What a killed process leaves has the process's number in its name. Rejected: a fixed name that the next run removes; two runs
//! may go on at once, and nothing is removed that this process has not made.

use std::fs;

use std::path::{Path, PathBuf};

use helios_engine::ops::{Class, Failure};

use crate::cli::commands::sink::failure;
use crate::cli::quote;
use crate::cli::size;

/// Bytes that a validation writes at most, with room to spare: mostly the working trees of git.
const BYTES_NEEDED: u64 = 4 << 30;
const BYTES_NEEDED_QUICK: u64 = 512 << 20;

/// See the module.
pub struct Place(PathBuf);

impl Place {
    /// A new directory in `parent`, on a file system with enough room.
    pub fn make(parent: &Path, quick: bool) -> Result<Place, Failure> {
        let parent = fs::canonicalize(parent).map_err(|error| failure("use", parent, &error))?;
        let needed = if quick { BYTES_NEEDED_QUICK } else { BYTES_NEEDED };
        let room =
            rustix::fs::statvfs(&parent).map_err(|error| failure("look at", &parent, &error.into()))?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if free < needed {
            let message = format!(
                "{} has {} free; the benchmark needs {}",
                quote::name(parent.as_os_str().as_encoded_bytes()),
                size::show(free),
                size::show(needed)
            );
            return Err(Failure::new(Class::Full, message).with_hint("choose another directory with --dir"));
        }
        let path = parent.join(format!("helios-benchmark-{}", std::process::id()));
        fs::create_dir(&path).map_err(|error| failure("create", &path, &error))?;
        Ok(Place(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!("{} could not be removed: {error}", self.0.display());
        }
    }
}

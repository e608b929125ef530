//! Which processes have which devices open.
//!
//! Owns the walk through `/proc`. Invariant: says whether it could look at every process; one that is out of sight may
//! use anything.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use serde::Serialize;

use super::host::Host;

/// A process that has a device open.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// What it calls itself.
    pub name: String,
}

/// What is open below `/dev`, at the moment of the look.
#[derive(Debug, Default)]
pub(super) struct OpenDevices {
    by_path: HashMap<PathBuf, Vec<Process>>,
    /// Some processes could not be looked at.
    pub hidden: bool,
}

impl OpenDevices {
    /// Looks at every process.
    pub(super) fn look(host: &Host) -> OpenDevices {
        let mut open = OpenDevices::default();
        for entry in host.names("/proc") {
            let Ok(pid) = entry.parse::<u32>() else { continue };
            open.look_at(host, pid);
        }
        open
    }

    fn look_at(&mut self, host: &Host, pid: u32) {
        let files = match fs::read_dir(host.path(format!("/proc/{pid}/fd"))) {
            Ok(files) => files,
            // It has ended.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(_) => {
                self.hidden = true;
                return;
            }
        };
        let mut name = None;
        for file in files.flatten() {
            let Ok(target) = fs::read_link(file.path()) else {
                continue;
            };
            if !target.starts_with("/dev") {
                continue;
            }
            let name = name.get_or_insert_with(|| {
                host.text(format!("/proc/{pid}/comm"))
                    .unwrap_or_else(|| "?".to_owned())
            });
            let users = self.by_path.entry(target).or_default();
            if users.last().is_none_or(|last| last.pid != pid) {
                users.push(Process {
                    pid,
                    name: name.clone(),
                });
            }
        }
    }

    /// The processes that have one of these paths open.
    pub(super) fn users<'a>(&self, paths: impl IntoIterator<Item = &'a String>) -> Vec<Process> {
        let mut users: Vec<Process> = paths
            .into_iter()
            .filter_map(|path| self.by_path.get(&PathBuf::from(path)))
            .flatten()
            .cloned()
            .collect();
        users.sort_unstable();
        users.dedup();
        users
    }
}

/// Whether this process itself has a device open.
pub(super) fn is_ours(host: &Host, path: &str) -> bool {
    let files = fs::read_dir(host.path("/proc/self/fd"));
    files
        .into_iter()
        .flatten()
        .flatten()
        .any(|file| fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == path))
}

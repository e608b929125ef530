//! When memory makes a collection due: the index has doubled since the last one, or it has grown and memory is short.
//!
//! Dead extents cost memory as well as space: each has an entry in the index until a collection forgets it. A store that
//! has room on its device would never look for them, so it does when as much has come as was left by the last collection:
//! then the index takes at most twice what the living need, and what a collection costs is paid by as many puts as it
//! looks at entries (what garbage-collected heaps do). It does so earlier when the host (or the control group it runs in)
//! is short of memory, or the index has passed the bound it was given. Invariant: the index must have grown by a part of
//! what the last collection left, or a host that stays short would have the store collect without end.
//! Rejected: refusing puts beyond a bound (what is alive has to be indexed, wherever the memory comes from); a watch on the
//! kernel's pressure notifications (a thread and a descriptor for what a look at every sealed segment finds as well).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::shared::Shared;

/// What makes memory short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MemoryLimit {
    /// The host, or the control group of this process, has little left; or the index has doubled and grown by 2^20 entries.
    #[default]
    Host,
    /// The index has doubled since the last collection (or since the store was opened), and grown by that many entries.
    Growth(u64),
    /// The index takes more than that many bytes.
    IndexBytes(u64),
    /// Nothing.
    None,
}

/// A collection is due when the index has grown by one part in so many since the last.
const GROWTH: u64 = 4;
/// Memory is short when less than one part in so many of it is available.
const SHORT: u64 = 10;
/// Growth below this (about 2 MiB of index) relieves no host.
const ENTRIES_MIN: u64 = 1 << 16;
/// Growth below this (about 36 MiB of index) is left alone by a host that has memory.
const DOUBLED_MIN: u64 = 1 << 20;

/// What the growth of the index is counted from.
#[derive(Debug)]
pub(super) struct Growth {
    /// Entries at the opening: nobody knows how many of them are dead.
    opened: u64,
    /// Entries that were there when the last collection began, and still when it ended, however it did.
    left: AtomicU64,
    collected: AtomicBool,
}

impl Growth {
    /// Of a store that was opened with that many entries.
    pub(super) fn since_opening(entries: u64) -> Growth {
        Growth {
            opened: entries,
            left: AtomicU64::new(0),
            collected: AtomicBool::new(false),
        }
    }

    /// A collection has ended, well or not, and has left so many entries of those that it had to look at.
    pub(super) fn collected(&self, entries: u64) {
        self.left.store(entries, Ordering::Relaxed);
        self.collected.store(true, Ordering::Relaxed);
    }

    /// Whether as many entries have come as there were, and so many at least.
    fn has_doubled(&self, entries: u64, least: u64) -> bool {
        let before = match self.collected.load(Ordering::Relaxed) {
            true => self.left.load(Ordering::Relaxed),
            false => self.opened,
        };
        entries.saturating_sub(before) >= before.max(least)
    }
}

/// Whether the store should forget what is dead for the memory it takes.
pub(super) fn is_due(shared: &Shared) -> bool {
    let entries = shared.index.len();
    // What was there at the opening counts as grown: a host that is short finds out what of it is dead.
    let left = shared.growth.left.load(Ordering::Relaxed);
    let grown = entries.saturating_sub(left);
    if grown * GROWTH < left.max(1) {
        return false;
    }
    match shared.memory_limit {
        MemoryLimit::None => false,
        MemoryLimit::Growth(least) => shared.growth.has_doubled(entries, least),
        MemoryLimit::IndexBytes(bytes) => shared.index.memory_bytes() > bytes,
        MemoryLimit::Host => {
            shared.growth.has_doubled(entries, DOUBLED_MIN) || grown >= ENTRIES_MIN && host_is_short()
        }
    }
}

fn host_is_short() -> bool {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let of_host = available_of_host(&read("/proc/meminfo"));
    let of_group = available_of_group(
        &read("/sys/fs/cgroup/memory.max"),
        &read("/sys/fs/cgroup/memory.current"),
        &read("/sys/fs/cgroup/memory.stat"),
    );
    let short = |(available, all): (u64, u64)| available * SHORT < all;
    of_host.is_some_and(short) || of_group.is_some_and(short)
}

/// Available and all memory, as `proc_meminfo(5)` lists them.
fn available_of_host(meminfo: &str) -> Option<(u64, u64)> {
    let field = |name: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some((field("MemAvailable:")?, field("MemTotal:")?))
}

/// The same of a control group with a bound (version 2, as a container sees its own). Pages of files that nobody used lately
/// count as available: the kernel drops them first.
fn available_of_group(max: &str, current: &str, stat: &str) -> Option<(u64, u64)> {
    let max: u64 = max.trim().parse().ok()?;
    let current: u64 = current.trim().parse().ok()?;
    let files = stat.lines().find_map(|line| line.strip_prefix("inactive_file "));
    let files: u64 = files.and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
    Some((max.saturating_sub(current.saturating_sub(files)), max))
}

#[cfg(test)]
mod tests {
    use super::{available_of_group, available_of_host};

    /// Goal: what the kernel says is understood, and what it does not say makes nothing short.
    #[test]
    fn the_kernels_figures_are_understood() {
        let meminfo =
            "MemTotal:       24632148 kB\nMemFree:         1021868 kB\nMemAvailable:   20934412 kB\n";
        assert_eq!(available_of_host(meminfo), Some((20_934_412, 24_632_148)));
        assert_eq!(available_of_host(""), None);
        assert_eq!(available_of_group("1000\n", "900\n", ""), Some((100, 1000)));
        assert_eq!(
            available_of_group("1000\n", "900\n", "anon 400\ninactive_file 500\nactive_file 0\n"),
            Some((600, 1000))
        );
        assert_eq!(available_of_group("1000\n", "1900\n", ""), Some((0, 1000)));
        assert_eq!(available_of_group("max\n", "900\n", ""), None);
        let own = std::fs::read_to_string("/proc/meminfo").unwrap();
        let (available, all) = available_of_host(&own).unwrap();
        assert!(available <= all && available > 0);
    }
}

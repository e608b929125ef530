//! Memory that devices can reach: hugepages, and the file system through which programs share them.
//!
//! Owns reading and setting the kernel's counts, and seeing to it that hugetlbfs is mounted. Pages of 2 MiB are allocated:
//! those of 1 GiB are found in one piece only while the machine starts, and are shown. Invariant: what was allocated for
//! others stays, unless all are given back.

use std::path::PathBuf;

use serde::Serialize;

use super::binding::require_root;
use super::error::Error;
use super::host::{Host, named, unescape};
use super::users;

/// Kernel-wide counts.
const EVERYWHERE: &str = "/sys/kernel/mm/hugepages";
/// Nodes, each with counts of its own.
const NODES: &str = "/sys/devices/system/node";
/// Directory of the pages that are allocated.
const PAGES_2M: &str = "hugepages-2048kB";
/// Their size.
const PAGE_BYTES: u64 = 2 << 20;
/// Where distributions mount the file system.
const FILE_SYSTEM: &str = "/dev/hugepages";

/// All hugepages of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Hugepages {
    /// By size, over all nodes.
    pub pages: Vec<Pages>,
    /// By node and size. Empty where the machine tells no nodes apart.
    pub nodes: Vec<Pages>,
    /// Where they are mounted.
    pub file_systems: Vec<FileSystem>,
}

/// Pages of one size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pages {
    /// NUMA node; `None` for all together.
    pub node: Option<u32>,
    /// Bytes of one.
    pub page_bytes: u64,
    /// How many there are.
    pub total: u64,
    /// How many of them nobody uses.
    pub free: u64,
    /// How many of the free ones are promised to somebody. The kernel does not know this by node.
    pub reserved: Option<u64>,
}

impl Pages {
    /// Those that can still be had.
    pub fn available(&self) -> u64 {
        self.free.saturating_sub(self.reserved.unwrap_or(0))
    }
}

/// A mounted hugetlbfs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileSystem {
    /// Where.
    pub path: String,
    /// Bytes of its pages.
    pub page_bytes: u64,
    /// Whether this process may make files there.
    pub writable: bool,
}

/// What an allocation came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Allocated {
    /// Pages of 2 MiB before, on the node that was asked for or on all.
    pub before: u64,
    /// And now.
    pub now: u64,
    /// How many of them are still in use, though all were to be given back; they go when their users do.
    pub in_use: u64,
    /// The hugetlbfs that was mounted, if there was none.
    pub mounted: Option<String>,
}

/// What there is.
pub fn hugepages(host: &Host) -> Hugepages {
    let mut found = Hugepages {
        pages: counts(host, EVERYWHERE, None),
        nodes: Vec::new(),
        file_systems: file_systems(host),
    };
    let mut nodes: Vec<u32> = host
        .names(NODES)
        .iter()
        .filter_map(|name| name.strip_prefix("node")?.parse().ok())
        .collect();
    nodes.sort_unstable();
    for node in nodes {
        let directory = format!("{NODES}/node{node}/hugepages");
        found.nodes.extend(counts(host, &directory, Some(node)));
    }
    found
}

/// Sees to it that there are pages of 2 MiB for at least `bytes`, on one node or wherever there is room, and a hugetlbfs;
/// with 0 gives all of them back.
pub fn allocate(host: &Host, bytes: u64, node: Option<u32>) -> Result<Allocated, Error> {
    let directory = match node {
        Some(node) => format!("{NODES}/node{node}/hugepages/{PAGES_2M}"),
        None => format!("{EVERYWHERE}/{PAGES_2M}"),
    };
    let count = || host.number(format!("{directory}/nr_hugepages"));
    let Some(before) = count() else {
        return Err(match node {
            Some(node) => Error::NoNode { node },
            None => Error::NoHugepages,
        });
    };
    require_root(host, "allocate hugepages")?;
    let set = |pages: u64| host.write(format!("{directory}/nr_hugepages"), &format!("{pages}\n"));
    if bytes == 0 {
        set(0)?;
        let now = count().unwrap_or(0);
        let free = host.number(format!("{directory}/free_hugepages")).unwrap_or(0);
        return Ok(Allocated {
            before,
            now,
            in_use: now.saturating_sub(free),
            mounted: None,
        });
    }
    let wanted = bytes.div_ceil(PAGE_BYTES);
    if wanted > before {
        check_memory(host, wanted - before)?;
        set(wanted)?;
        if count().unwrap_or(0) < wanted {
            // Free memory is there, in pieces; it is worth one try to move them together.
            host.write("/proc/sys/vm/compact_memory", "1\n")?;
            set(wanted)?;
        }
    }
    let now = count().unwrap_or(0);
    if now < wanted {
        return Err(Error::TooFewPages { given: now, wanted });
    }
    Ok(Allocated {
        before,
        now,
        in_use: 0,
        mounted: provide_file_system(host)?,
    })
}

/// Lets a user make files in the hugetlbfs of 2 MiB pages, which is mounted if there is none. Answers where it is.
pub fn give_hugepages(host: &Host, user: &str) -> Result<String, Error> {
    require_root(host, "give hugepages to a user")?;
    let number = users::number(host, user)?;
    let path = match provide_file_system(host)? {
        Some(path) => path,
        None => usable(host).ok_or_else(|| Error::NoFileSystem {
            reason: "none is mounted".to_owned(),
        })?,
    };
    let given = host.system().give(&host.path(&path), number);
    given.map_err(|error| named("change the owner of", path.as_ref(), &error))?;
    Ok(path)
}

fn counts(host: &Host, directory: &str, node: Option<u32>) -> Vec<Pages> {
    let mut pages: Vec<Pages> = host
        .names(directory)
        .iter()
        .filter_map(|name| {
            let kib: u64 = name
                .strip_prefix("hugepages-")?
                .strip_suffix("kB")?
                .parse()
                .ok()?;
            let number = |attribute| host.number(format!("{directory}/{name}/{attribute}"));
            Some(Pages {
                node,
                page_bytes: kib.checked_mul(1024)?,
                total: number("nr_hugepages")?,
                free: number("free_hugepages")?,
                reserved: number("resv_hugepages"),
            })
        })
        .collect();
    pages.sort_unstable_by_key(|pages| pages.page_bytes);
    pages
}

/// The kernel tries to give whatever is asked for, and ends the processes that are in the way.
fn check_memory(host: &Host, pages: u64) -> Result<(), Error> {
    let wanted = pages.saturating_mul(PAGE_BYTES);
    let list = host.list("/proc/meminfo")?;
    let list = String::from_utf8_lossy(&list);
    let available = list.lines().find_map(|line| {
        let kib = line.strip_prefix("MemAvailable:")?.trim().strip_suffix("kB")?;
        kib.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    match available {
        Some(available) if wanted > available => Err(Error::TooLittleMemory { wanted, available }),
        _ => Ok(()),
    }
}

/// Every hugetlbfs of this process's view.
fn file_systems(host: &Host) -> Vec<FileSystem> {
    let list = host.list("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<FileSystem> = list
        .split(|byte| *byte == b'\n')
        .filter_map(|line| file_system(host, line))
        .collect();
    found.dedup();
    found
}

/// See proc_pid_mountinfo(5): the last fields are the type, the source and the options of the file system.
fn file_system(host: &Host, line: &[u8]) -> Option<FileSystem> {
    let mut fields = line.split(|byte| *byte == b' ');
    let path = unescape(fields.nth(4)?);
    fields.find(|field| *field == b"-")?;
    if fields.next()? != b"hugetlbfs" {
        return None;
    }
    let options = String::from_utf8_lossy(fields.nth(1)?).into_owned();
    let size = options
        .split(',')
        .find_map(|option| option.strip_prefix("pagesize="));
    let size = match size {
        Some(size) => page_bytes(size)?,
        None => PAGE_BYTES, // what kernels leave out is the default
    };
    Some(FileSystem {
        writable: host.system().may_fill(&host.path(&path)),
        path: path.to_string_lossy().into_owned(),
        page_bytes: size,
    })
}

/// `2M`, `1024M`, `1G`, `64K`.
fn page_bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The hugetlbfs that takes pages of 2 MiB, if there is one.
fn usable(host: &Host) -> Option<String> {
    let mut found = file_systems(host).into_iter();
    found
        .find(|found| found.page_bytes == PAGE_BYTES)
        .map(|found| found.path)
}

/// Has hugetlbfs mounted where it is not. Answers where, if it was not.
fn provide_file_system(host: &Host) -> Result<Option<String>, Error> {
    if usable(host).is_some() {
        return Ok(None);
    }
    let path: PathBuf = host.path(FILE_SYSTEM);
    std::fs::create_dir_all(&path).map_err(|error| named("create", FILE_SYSTEM.as_ref(), &error))?;
    let arguments = ["-t", "hugetlbfs", "-o", "pagesize=2M,mode=0755", "hugetlbfs"].map(AsRef::as_ref);
    let arguments = [&arguments[..], &[path.as_os_str()]].concat();
    let failed = |reason| Error::NoFileSystem { reason };
    let ran = host.system().run("mount", &arguments).map_err(|error| {
        failed(format!(
            "the program that attaches file systems cannot be run: {error}"
        ))
    })?;
    if ran.code != Some(0) {
        return Err(failed(ran.complaint));
    }
    Ok(Some(FILE_SYSTEM.to_owned()))
}

#[cfg(test)]
#[path = "hugepages_tests.rs"]
mod tests;

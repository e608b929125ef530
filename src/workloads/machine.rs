//! What figures were measured on.

use std::fs;
use std::path::Path;

use serde::Serialize;

/// Facts of this machine; what it does not tell is `?`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Machine {
    /// Model of the processor.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// The widest vectors of the processor that count for hashing.
    pub simd: &'static str,
    /// Release of the kernel.
    pub kernel: String,
    /// Type of the file system measured.
    pub file_system: String,
    /// What that file system is on.
    pub device: String,
    /// Load of the last minute: how many others wanted a core.
    pub load: f64,
}

impl Machine {
    /// This one, and the file system of a directory.
    pub fn around(directory: &Path) -> Machine {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            let line = cpu.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':'))
                .map_or("?", |(_, value)| value.trim())
        };
        let flags: Vec<&str> = field("flags").split(' ').collect();
        let simd = match () {
            () if flags.contains(&"avx512f") => "AVX-512",
            () if flags.contains(&"avx2") => "AVX2",
            () => "neither AVX2 nor AVX-512",
        };
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let place = fs::canonicalize(directory).unwrap_or_else(|_| directory.to_owned());
        let (file_system, device) = file_system(&table, &place);
        Machine {
            cpu: field("model name").to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            simd,
            kernel: kernel.trim().to_owned(),
            file_system,
            device,
            load: load
                .split(' ')
                .next()
                .and_then(|load| load.parse().ok())
                .unwrap_or(f64::NAN),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Machine {
            cpu,
            cores,
            simd,
            kernel,
            ..
        } = self;
        let (file_system, device, load) = (&self.file_system, &self.device, self.load);
        write!(
            f,
            "{cpu} x{cores} ({simd}), Linux {kernel}, {file_system} on {device}, load {load}"
        )
    }
}

/// Type and device of the file system that a path is on, by the kernel's table of those.
fn file_system(table: &str, path: &Path) -> (String, String) {
    // ID PARENT DEVICE ROOT POINT OPTIONS... - TYPE SOURCE OPTIONS
    let entries = table.lines().filter_map(|line| {
        let (place, what) = line.split_once(" - ")?;
        let point = place.split(' ').nth(4)?;
        let mut what = what.split(' ');
        path.starts_with(point)
            .then_some((point.len(), what.next()?, what.next()?))
    });
    // Of several at one place the last covers the others.
    entries.max_by_key(|(len, ..)| *len).map_or_else(
        || ("?".to_owned(), "?".to_owned()),
        |(_, kind, source)| (kind.to_owned(), source.to_owned()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the innermost file system is named, and of two at one place the later.
    #[test]
    fn the_file_system_of_a_path() {
        let table = "21 1 254:0 / / rw - ext4 /dev/vda rw\n\
                     22 21 0:5 / /data rw shared:3 - tmpfs none rw\n\
                     23 21 8:1 / /data rw - xfs /dev/sda1 rw\n";
        let of = |path: &str| file_system(table, Path::new(path));
        assert_eq!(of("/database"), ("ext4".to_owned(), "/dev/vda".to_owned()));
        assert_eq!(of("/data/x"), ("xfs".to_owned(), "/dev/sda1".to_owned()));
        assert_eq!(file_system("", Path::new("/")).0, "?");
    }
}

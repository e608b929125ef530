//! What the figures were measured on, and with which versions.

use std::path::Path;

use super::child;

/// The machine, and what ran on it.
#[derive(Debug, serde::Serialize)]
pub struct Machine {
    /// Processor, cores, instructions, kernel, and the load when the run began.
    pub summary: String,
    /// Load averages when the run ended.
    pub load_at_end: String,
    /// The directory that everything was measured in.
    pub directory: String,
    /// Type and options of its file system.
    pub file_system: String,
    /// Its block device, as the kernel describes it.
    pub device: String,
    /// Whether caches could be emptied.
    pub page_cache: String,
    /// How Helios, and the peers that are built in, were built.
    pub built: String,
    /// Name and version of everybody who may take part.
    pub versions: Vec<(String, String)>,
}

/// Load averages now.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.trim().to_owned()
}

impl Machine {
    /// This machine, with everything measured in `directory`, by what was `built` so.
    pub fn look(directory: &Path, built: &str, versions: Vec<(String, String)>) -> Machine {
        Machine {
            summary: ::helios::workloads::machine::Machine::around(std::path::Path::new(".")).to_string(),
            load_at_end: String::new(),
            directory: directory.display().to_string(),
            file_system: mount_of(directory),
            device: device_of(directory),
            page_cache: match super::caches::can_drop() {
                Ok(()) => "emptied where a row says cold".to_owned(),
                Err(why) => format!("{why}: rows that say cold are warm for those who use it"),
            },
            built: built.to_owned(),
            versions,
        }
    }
}

/// Type, device and options of the file system that has the directory.
fn mount_of(directory: &Path) -> String {
    let directory = directory.canonicalize().unwrap_or_else(|_| directory.to_owned());
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let candidates = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, point, kind, options) = (words.next()?, words.next()?, words.next()?, words.next()?);
        directory
            .starts_with(point)
            .then(|| (point.len(), format!("{kind} on {device} ({options})")))
    });
    // The last of equals lies over the others.
    let longest = candidates.max_by_key(|(length, _)| *length);
    longest.map_or_else(|| "unknown".to_owned(), |(_, text)| text)
}

/// Model, scheduler and write cache of the device below.
fn device_of(directory: &Path) -> String {
    use std::os::linux::fs::MetadataExt;
    let Ok(metadata) = std::fs::metadata(directory) else {
        return "unknown".to_owned();
    };
    let number = metadata.st_dev();
    let at = format!(
        "/sys/dev/block/{}:{}",
        rustix::fs::major(number),
        rustix::fs::minor(number)
    );
    let disk = [format!("{at}/queue"), format!("{at}/../queue")]
        .into_iter()
        .find(|path| Path::new(path).is_dir());
    let Some(queue) = disk else {
        return "no block device".to_owned();
    };
    let read = |path: String| {
        std::fs::read_to_string(path)
            .map(|text| text.trim().to_owned())
            .unwrap_or_default()
    };
    let model = read(format!("{queue}/../device/model"));
    let driver = std::fs::read_link(format!("{queue}/../device/driver"));
    let driver = driver
        .ok()
        .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
    let parts = [
        model,
        driver.unwrap_or_default(),
        format!("scheduler {}", read(format!("{queue}/scheduler"))),
        read(format!("{queue}/write_cache")),
    ];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

/// Versions of the programs that are found by their names.
pub fn program_versions(helios: Option<&Path>) -> Vec<(String, String)> {
    let mut versions = Vec::new();
    let mut add = |name: &str, version: Option<String>| {
        versions.push((
            name.to_owned(),
            version.unwrap_or_else(|| "not installed".to_owned()),
        ));
    };
    let helios = helios.map(|path| path.to_string_lossy().into_owned());
    add(
        "helios",
        helios.and_then(|path| child::first_line(&path, &["--version"])),
    );
    add("git", child::first_line("git", &["--version"]));
    add("restic", child::first_line("restic", &["version"]));
    add("cp", child::first_line("cp", &["--version"]));
    add("btrfs", child::first_line("btrfs", &["--version"]));
    add("fio", child::first_line("fio", &["--version"]));
    versions
}

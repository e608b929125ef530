//! What the figures were measured on, and with which versions.

use std::path::Path;

use super::child;

/// `EXT4_SUPER_MAGIC` of the kernel's `magic.h`.
const EXT4_MAGIC: rustix::fs::FsWord = 0xEF53;
/// `recently_deleted` in the kernel's `fs/ext4/ialloc.c`: without a journal an inode is not used again for a minute (six, if
/// its deletion has not been written), and whoever makes a file there looks at each of these first.
const WITHOUT_JOURNAL: &str = "; without a journal: for minutes after files were deleted, making others takes up to ten \
                               times as long, for everybody";

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
            file_system: file_system_of(directory),
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

/// The file system that has the directory, and what is to be known of it.
fn file_system_of(directory: &Path) -> String {
    let mut text = mount_of(directory);
    if lacks_journal(directory) {
        text.push_str(WITHOUT_JOURNAL);
    }
    text
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

/// Where the kernel describes the block device that has the directory.
fn block_device_of(directory: &Path) -> std::io::Result<String> {
    use std::os::linux::fs::MetadataExt;
    let number = std::fs::metadata(directory)?.st_dev();
    Ok(format!(
        "/sys/dev/block/{}:{}",
        rustix::fs::major(number),
        rustix::fs::minor(number)
    ))
}

/// Whether the directory's file system is ext4 without a journal of its own.
fn lacks_journal(directory: &Path) -> bool {
    let ext4 = rustix::fs::statfs(directory).is_ok_and(|stat| stat.f_type == EXT4_MAGIC);
    let device = block_device_of(directory).and_then(std::fs::read_link);
    let Some(name) = device.as_ref().ok().and_then(|device| device.file_name()) else {
        return false;
    };
    let prefix = format!("{}-", name.to_string_lossy());
    let journals = std::fs::read_dir("/proc/fs/jbd2").into_iter().flatten().flatten();
    let mut names = journals.map(|journal| journal.file_name());
    ext4 && !names.any(|name| name.to_string_lossy().starts_with(&prefix))
}

/// Model, scheduler and write cache of the device below.
fn device_of(directory: &Path) -> String {
    let Ok(at) = block_device_of(directory) else {
        return "unknown".to_owned();
    };
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

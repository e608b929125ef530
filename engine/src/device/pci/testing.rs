//! A made-up machine: files as the kernel shows them, in a temporary directory, and a kernel that reacts to what is written
//! to them. Whatever a test wants to go wrong is told to it before.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tempfile::TempDir;

use super::PciAddress;
use super::host::{Host, Ran, System};
use super::inventory::CLASS_NVME;

pub(super) const PCI: &str = "0000:5e:00.0";
pub(super) const OTHER: &str = "0000:5e:00.1";
/// Size of a made-up namespace, in bytes.
pub(super) const NAMESPACE_BYTES: usize = 1 << 20;

/// What makes a machine the one that a test is about.
pub(super) type Arrange = fn(&Machine);

/// What is to go wrong, and what was done.
#[derive(Default)]
pub(super) struct Script {
    /// Who runs the program.
    pub user: u32,
    /// Memory it may lock; `None` without a limit.
    pub lockable_bytes: Option<u64>,
    /// Ends of paths that cannot be written to, from the write with this number on (0 is the first), for a number of times.
    pub refused_writes: Vec<(&'static str, u32, u32)>,
    /// Paths that cannot be opened by a device's user, and why.
    pub refused_opens: Vec<(String, ErrorKind)>,
    /// Block devices that somebody has for himself.
    pub claimed: Vec<String>,
    /// Directories this user may not write to.
    pub unwritable: Vec<String>,
    /// Drivers that bind nothing.
    pub broken_drivers: Vec<&'static str>,
    /// What programs say; those that are not here are missing.
    pub programs: Vec<(&'static str, Ran)>,
    /// Pages of 2 MiB the kernel can give, and can give after it has moved memory together.
    pub pages_max: [u64; 2],
    /// Called at each pause, once.
    pub at_pause: Option<Box<dyn FnOnce() + Send>>,
    /// Everything that was written and run.
    pub log: Vec<String>,
    /// Who was given what.
    pub given: Vec<(String, u32)>,
}

/// The kernel of the made-up machine.
struct Kernel {
    root: PathBuf,
    script: Mutex<Script>,
}

pub(super) struct Machine {
    root: TempDir,
    kernel: Arc<Kernel>,
}

impl Machine {
    /// With an IOMMU, all drivers, `blkid` that finds nothing, memory for 1000 hugepages, and root at the keyboard.
    pub fn new() -> Machine {
        let root = tempfile::tempdir().expect("directory");
        let script = Script {
            programs: vec![
                ("blkid", ran(2, "")),
                ("modprobe", ran(0, "")),
                ("mount", ran(0, "")),
                ("id", ran(0, "1000\n")),
            ],
            pages_max: [1000, 1000],
            ..Script::default()
        };
        let kernel = Kernel {
            root: root.path().to_owned(),
            script: Mutex::new(script),
        };
        let machine = Machine {
            root,
            kernel: Arc::new(kernel),
        };
        for driver in ["nvme", "vfio-pci", "uio_pci_generic"] {
            machine.write(&format!("/sys/bus/pci/drivers/{driver}/unbind"), "");
        }
        machine.write("/sys/bus/pci/drivers_probe", "");
        machine.write("/sys/class/iommu/dmar0/version", "1");
        machine.write("/proc/self/mountinfo", "22 1 254:0 / / rw - ext4 /dev/vda rw\n");
        machine.write("/proc/swaps", "Filename Type Size Used Priority\n");
        machine.write(
            "/proc/meminfo",
            "MemTotal: 9000000 kB\nMemAvailable:    8000000 kB\n",
        );
        machine.write("/proc/self/status", "Name:\thelios\nCapEff:\t0000000000000000\n");
        machine.write("/proc/sys/vm/compact_memory", "");
        machine.pages("/sys/kernel/mm/hugepages", 0, 0);
        machine
    }

    pub fn host(&self) -> Host {
        Host::made_up(self.root.path(), self.kernel.clone())
    }

    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.kernel.script.lock()
    }

    /// What a program says from now on.
    pub fn program(&self, name: &'static str, ran: Ran) {
        let mut script = self.script();
        script.programs.retain(|(known, _)| *known != name);
        script.programs.push((name, ran));
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.kernel.path(path)
    }

    pub fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directory");
        fs::write(path, text).expect("file");
    }

    pub fn append(&self, path: &str, text: impl AsRef<[u8]>) {
        let mut bytes = fs::read(self.path(path)).unwrap_or_default();
        bytes.extend_from_slice(text.as_ref());
        self.write(path, bytes);
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).expect("a file")
    }

    pub fn link(&self, path: &str, target: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directory");
        symlink(target, path).expect("link");
    }

    pub fn remove(&self, path: &str) {
        let path = self.path(path);
        if path.is_dir() {
            fs::remove_dir_all(path).expect("removed");
        } else {
            fs::remove_file(path).expect("removed");
        }
    }

    /// A device of any class.
    pub fn device(&self, pci: &str, class: &str, driver: Option<&str>, group: Option<u32>) {
        let device = format!("/sys/bus/pci/devices/{pci}");
        self.write(&format!("{device}/class"), format!("{class}\n"));
        self.write(&format!("{device}/vendor"), "0x144d\n");
        self.write(&format!("{device}/device"), "0xa808\n");
        self.write(&format!("{device}/numa_node"), "-1\n");
        self.write(&format!("{device}/driver_override"), "(null)\n");
        if let Some(group) = group {
            let groups = format!("/sys/kernel/iommu_groups/{group}");
            self.write(&format!("{groups}/type"), "DMA-FQ\n");
            self.link(
                &format!("{groups}/devices/{pci}"),
                &format!("../../../../bus/pci/devices/{pci}"),
            );
            self.link(
                &format!("{device}/iommu_group"),
                &format!("../../../../kernel/iommu_groups/{group}"),
            );
        }
        if let Some(driver) = driver {
            self.kernel.bind(pci, driver);
        }
    }

    /// An NVMe device that the kernel has, with one empty namespace; in group 7.
    pub fn nvme(&self) {
        self.device(PCI, CLASS_NVME, None, Some(7));
        let nvme = format!("/sys/bus/pci/devices/{PCI}/nvme/nvme0");
        self.write(&format!("{nvme}/model"), "Fast Disk 9000   \n");
        self.write(&format!("{nvme}/serial"), "S1234\n");
        self.write(&format!("{nvme}/ng0n1/dev"), "510:0\n");
        self.namespace(PCI, "nvme0n1", "nvme0n1");
        self.kernel.bind(PCI, "nvme");
    }

    /// A namespace of the controller `nvme0`, with an entry there of that name.
    pub fn namespace(&self, pci: &str, entry: &str, name: &str) {
        let sectors = format!("{}\n", NAMESPACE_BYTES / 512);
        self.write(
            &format!("/sys/bus/pci/devices/{pci}/nvme/nvme0/{entry}/size"),
            &sectors,
        );
        self.write(&format!("/sys/class/block/{name}/size"), &sectors);
        self.write(&format!("/sys/class/block/{name}/dev"), "259:0\n");
        fs::create_dir_all(self.path(&format!("/sys/class/block/{name}/holders"))).expect("directory");
        self.write(&format!("/dev/{name}"), vec![0; NAMESPACE_BYTES]);
    }

    /// A partition of a namespace.
    pub fn partition(&self, namespace: &str, name: &str, number: &str) {
        self.write(&format!("/sys/class/block/{namespace}/{name}/partition"), "1\n");
        self.write(&format!("/sys/class/block/{name}/dev"), number);
        fs::create_dir_all(self.path(&format!("/sys/class/block/{name}/holders"))).expect("directory");
    }

    /// A process that has a path open.
    pub fn process(&self, pid: u32, name: &str, path: &str) {
        self.write(&format!("/proc/{pid}/comm"), format!("{name}\n"));
        self.link(&format!("/proc/{pid}/fd/3"), path);
    }

    /// Counts of pages of 2 MiB in a directory.
    pub fn pages(&self, directory: &str, total: u64, free: u64) {
        let directory = format!("{directory}/hugepages-2048kB");
        self.write(&format!("{directory}/nr_hugepages"), format!("{total}\n"));
        self.write(&format!("{directory}/free_hugepages"), format!("{free}\n"));
        if !directory.contains("node") {
            self.write(&format!("{directory}/resv_hugepages"), "0\n");
        }
    }

    pub fn driver(&self, pci: &str) -> Option<String> {
        super::inventory::driver(&self.host(), pci.parse().expect("an address"))
    }

    pub fn address(&self) -> PciAddress {
        PCI.parse().expect("an address")
    }
}

/// A program that ended with this code and said this.
pub(super) fn ran(code: i32, output: &str) -> Ran {
    Ran {
        code: Some(code),
        output: output.to_owned(),
        complaint: match code {
            0 | 2 => String::new(),
            _ => "it does not work".to_owned(),
        },
    }
}

impl Kernel {
    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn machine_path(&self, path: &Path) -> String {
        let path = path.strip_prefix(&self.root).expect("below the root");
        format!("/{}", path.to_str().expect("text"))
    }

    fn bind(&self, pci: &str, driver: &str) {
        let device = self.path(&format!("/sys/bus/pci/devices/{pci}"));
        symlink(format!("../../drivers/{driver}"), device.join("driver")).expect("link");
        let hidden = device.join("nvme-gone");
        if driver == "nvme" && hidden.exists() {
            fs::rename(hidden, device.join("nvme")).expect("shown");
        }
        if let (true, Ok(group)) = (driver == "vfio-pci", fs::read_link(device.join("iommu_group"))) {
            let files = self.path("/dev/vfio");
            fs::create_dir_all(&files).expect("directory");
            fs::write(files.join(group.file_name().expect("a group")), "").expect("file");
        }
    }

    fn unbind(&self, pci: &str, driver: &str) -> io::Result<()> {
        let device = self.path(&format!("/sys/bus/pci/devices/{pci}"));
        let bound = fs::read_link(device.join("driver"))?;
        if bound.file_name() != Some(OsStr::new(driver)) {
            return Err(ErrorKind::NotFound.into());
        }
        fs::remove_file(device.join("driver"))?;
        if driver == "nvme" && device.join("nvme").exists() {
            fs::rename(device.join("nvme"), device.join("nvme-gone"))?;
        }
        Ok(())
    }

    fn probe(&self, pci: &str) -> io::Result<()> {
        let device = self.path(&format!("/sys/bus/pci/devices/{pci}"));
        if device.join("driver").exists() {
            return Ok(());
        }
        let choice = fs::read_to_string(device.join("driver_override"))?;
        let driver = match choice.trim() {
            "(null)" => "nvme",
            choice => choice,
        };
        let known = self.path(&format!("/sys/bus/pci/drivers/{driver}")).exists();
        // As the kernel does: a probe that binds nothing succeeds all the same.
        if known && !self.script.lock().broken_drivers.contains(&driver) {
            self.bind(pci, driver);
        }
        Ok(())
    }

    fn allocate(&self, path: &Path, text: &str) -> io::Result<()> {
        let wanted: u64 = text.trim().parse().expect("a number");
        let given = wanted.min(self.script.lock().pages_max[0]);
        let free = path.with_file_name("free_hugepages");
        let number =
            |path: &Path| fs::read_to_string(path).map(|text| text.trim().parse::<u64>().expect("a number"));
        let used = number(path)? - number(&free)?;
        fs::write(path, format!("{}\n", given.max(used)))?;
        fs::write(free, format!("{}\n", given.max(used) - used))
    }
}

impl System for Kernel {
    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        let shown = self.machine_path(path);
        let mut script = self.script.lock();
        script.log.push(format!("{} > {shown}", text.trim()));
        for (end, after, times) in &mut script.refused_writes {
            if !shown.ends_with(*end) || *times == 0 {
                continue;
            }
            if *after > 0 {
                *after -= 1;
                continue;
            }
            *times -= 1;
            return Err(ErrorKind::PermissionDenied.into());
        }
        drop(script);
        if !path.exists() {
            return Err(ErrorKind::NotFound.into());
        }
        let parent = path.parent().and_then(Path::file_name).and_then(OsStr::to_str);
        match (shown.rsplit('/').next(), parent) {
            (Some("driver_override"), _) => {
                let choice = if text.trim().is_empty() { "(null)\n" } else { text };
                fs::write(path, choice)
            }
            (Some("unbind"), Some(driver)) => self.unbind(text.trim(), driver),
            (Some("drivers_probe"), _) => self.probe(text.trim()),
            (Some("nr_hugepages"), _) => self.allocate(path, text),
            (Some("compact_memory"), _) => {
                let mut script = self.script.lock();
                script.pages_max[0] = script.pages_max[1];
                Ok(())
            }
            _ => panic!("nothing to be written to: {shown}"),
        }
    }

    fn run(&self, program: &str, arguments: &[&OsStr]) -> io::Result<Ran> {
        let arguments: Vec<&str> = arguments
            .iter()
            .map(|argument| argument.to_str().expect("text"))
            .collect();
        let line = format!("{program} {}", arguments.join(" "));
        let line = line.replace(self.root.to_str().expect("text"), "");
        let mut script = self.script.lock();
        script.log.push(line);
        let ran = script.programs.iter().find(|(known, _)| *known == program);
        let ran = ran.map(|(_, ran)| ran.clone()).ok_or(ErrorKind::NotFound)?;
        let done = ran.code == Some(0);
        if done && program == "modprobe" {
            fs::create_dir_all(self.path(&format!("/sys/bus/pci/drivers/{}", arguments[0])))?;
            fs::write(
                self.path(&format!("/sys/bus/pci/drivers/{}/unbind", arguments[0])),
                "",
            )?;
        }
        if done && program == "mount" {
            let list = self.path("/proc/self/mountinfo");
            let mounted = "40 24 0:99 / /dev/hugepages rw - hugetlbfs hugetlbfs rw,pagesize=2M\n";
            fs::write(&list, fs::read_to_string(&list)? + mounted)?;
        }
        Ok(ran)
    }

    fn open_block(&self, path: &Path, _: &str, alone: bool) -> io::Result<File> {
        let shown = self.machine_path(path);
        if alone && self.script.lock().claimed.contains(&shown) {
            return Err(ErrorKind::ResourceBusy.into());
        }
        File::open(path)
    }

    fn try_open(&self, path: &Path) -> io::Result<()> {
        let shown = self.machine_path(path);
        let script = self.script.lock();
        match script.refused_opens.iter().find(|(refused, _)| *refused == shown) {
            Some((_, kind)) => Err((*kind).into()),
            None => File::open(path).map(drop),
        }
    }

    fn give(&self, path: &Path, user: u32) -> io::Result<()> {
        let shown = self.machine_path(path);
        self.script.lock().given.push((shown, user));
        Ok(())
    }

    fn may_fill(&self, path: &Path) -> bool {
        let shown = self.machine_path(path);
        !self.script.lock().unwritable.contains(&shown)
    }

    fn user(&self) -> u32 {
        self.script.lock().user
    }

    fn lockable_bytes(&self) -> Option<u64> {
        self.script.lock().lockable_bytes
    }

    fn pause(&self) {
        let act = self.script.lock().at_pause.take();
        if let Some(act) = act {
            act();
        }
    }
}

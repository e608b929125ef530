use super::super::testing::{Arrange, Machine, PCI, ran};
use super::*;
use crate::device::STORE_MAGIC;

fn found(machine: &Machine) -> Vec<Use> {
    let host = machine.host();
    let controller = super::super::find(&host, machine.address()).expect("found");
    uses(&host, &controller)
}

fn shown(machine: &Machine) -> Vec<String> {
    found(machine).iter().map(Use::to_string).collect()
}

fn fresh() -> Machine {
    let machine = Machine::new();
    machine.nvme();
    machine
}

/// Goal: an empty namespace that nobody uses is free. Method: look at one.
#[test]
fn nothing_is_found_where_nothing_is() {
    assert_eq!(found(&fresh()), []);
}

/// Goal: whatever is in use is found, and is final. Method: each way in which the kernel shows it, by number, by name and
/// through links, on the namespace and on a partition.
#[test]
fn what_is_in_use_is_final() {
    let cases: [(&str, Arrange); 9] = [
        ("nvme0n1 is mounted at /srv/a b", |machine| {
            machine.append(
                "/proc/self/mountinfo",
                "30 22 259:0 / /srv/a\\040b rw shared:1 - ext4 /dev/root rw\n",
            );
        }),
        ("nvme0n1p1 is mounted at /boot", |machine| {
            machine.partition("nvme0n1", "nvme0n1p1", "259:1");
            machine.append(
                "/proc/self/mountinfo",
                "30 22 259:1 / /boot rw - vfat /dev/nvme0n1p1 rw\n",
            );
        }),
        ("nvme0n1 is mounted at /pool", |machine| {
            // btrfs has a number of its own.
            machine.append(
                "/proc/self/mountinfo",
                "30 22 0:44 /sub /pool rw - btrfs /dev/nvme0n1 rw\n",
            );
        }),
        ("nvme0n1 is mounted at /by-id", |machine| {
            machine.link("/dev/disk/by-id/fast", "../../nvme0n1");
            machine.append(
                "/proc/self/mountinfo",
                "30 22 0:44 / /by-id rw - btrfs /dev/disk/by-id/fast rw\n",
            );
        }),
        ("nvme0n1p1 is swapped to", |machine| {
            machine.partition("nvme0n1", "nvme0n1p1", "259:1");
            machine.append("/proc/swaps", "/dev/nvme0n1p1                partition 1 0 -2\n");
        }),
        ("nvme0n1 is held by dm-0", |machine| {
            machine.write("/sys/class/block/nvme0n1/holders/dm-0", "");
        }),
        ("nvme0n1p1 is held by md127", |machine| {
            machine.partition("nvme0n1", "nvme0n1p1", "259:1");
            machine.write("/sys/class/block/nvme0n1p1/holders/md127", "");
        }),
        ("open in process 42 (qemu)", |machine| {
            machine.process(42, "qemu", "/dev/nvme0n1")
        }),
        ("open in process 43 (nvme)", |machine| {
            machine.process(43, "nvme", "/dev/ng0n1")
        }),
    ];
    for (words, arrange) in cases {
        let machine = fresh();
        arrange(&machine);
        let uses = found(&machine);
        let last: Vec<&Use> = uses.iter().filter(|found| found.is_final()).collect();
        assert_eq!(last.len(), 1, "{words}: {uses:?}");
        assert_eq!(last[0].to_string(), words);
        assert!(!last[0].is_foreign());
    }
}

/// Goal: what is on a device is found, and is foreign unless it is a store. Method: everything `blkid` says, partitions
/// without a table, a store at either end, other bytes.
#[test]
fn what_is_on_it_is_found() {
    let with_unit = |machine: &Machine, first: bool, magic: &[u8]| {
        let path = machine.path("/dev/nvme0n1");
        let mut bytes = std::fs::read(&path).expect("the namespace");
        let start = if first { 4 } else { bytes.len() - 4092 };
        bytes[start..start + magic.len()].copy_from_slice(magic);
        std::fs::write(path, bytes).expect("written");
    };
    let machine = fresh();
    machine.program("blkid", ran(0, "DEVNAME=/dev/nvme0n1\nTYPE=LVM2_member\n"));
    assert_eq!(shown(&machine), ["nvme0n1 holds LVM2_member"]);
    machine.program("blkid", ran(0, "PTTYPE=gpt\n"));
    with_unit(&machine, true, b"boot code");
    assert_eq!(shown(&machine), ["nvme0n1 has a partition table (gpt)"]);
    machine.partition("nvme0n1", "nvme0n1p1", "259:1");
    assert_eq!(
        shown(&machine),
        ["nvme0n1 has a partition table (gpt) with nvme0n1p1"]
    );
    machine.program("blkid", ran(2, ""));
    assert_eq!(shown(&machine), ["nvme0n1 has partitions with nvme0n1p1"]);
    assert!(
        found(&machine)
            .iter()
            .all(|found| found.is_foreign() && !found.is_final())
    );

    let machine = fresh();
    with_unit(&machine, true, b"something");
    assert_eq!(shown(&machine), ["nvme0n1 holds other data"]);
    assert!(found(&machine)[0].is_foreign());

    for first in [true, false] {
        let machine = fresh();
        with_unit(&machine, first, &STORE_MAGIC);
        assert_eq!(shown(&machine), ["nvme0n1 holds a Helios store"]);
        assert!(!found(&machine)[0].is_foreign() && !found(&machine)[0].is_final());
    }
    // A store whose beginning somebody has written over is that somebody's.
    let machine = fresh();
    with_unit(&machine, false, &STORE_MAGIC);
    with_unit(&machine, true, b"file system");
    machine.program("blkid", ran(0, "TYPE=xfs\n"));
    assert_eq!(
        shown(&machine),
        ["nvme0n1 holds xfs", "nvme0n1 holds a Helios store"]
    );
}

/// Goal: what cannot be found out counts as somebody's data. Method: no `blkid`, one that fails, no block device, one that
/// is too short, no size, no list of what is mounted.
#[test]
fn what_cannot_be_told_is_foreign() {
    let cases: [(&str, Arrange); 6] = [
        ("blkid", |machine| {
            machine.script().programs.retain(|(name, _)| *name != "blkid")
        }),
        ("code 4", |machine| machine.program("blkid", ran(4, ""))),
        ("cannot read /dev/nvme0n1", |machine| {
            machine.remove("/dev/nvme0n1")
        }),
        ("cannot read /dev/nvme0n1", |machine| {
            machine.write("/dev/nvme0n1", "short")
        }),
        ("no block device", |machine| {
            machine.remove("/sys/class/block/nvme0n1")
        }),
        ("mountinfo", |machine| machine.remove("/proc/self/mountinfo")),
    ];
    for (words, arrange) in cases {
        let machine = fresh();
        arrange(&machine);
        let uses = found(&machine);
        assert!(
            !uses.is_empty() && uses.iter().all(Use::is_foreign),
            "{words}: {uses:?}"
        );
        assert!(uses[0].to_string().contains(words), "{words}: {}", uses[0]);
    }
}

/// Goal: whoever drives a device from user space is named, whatever is opened for it. Method: the group's file, the file of
/// the device itself, and the one of uio; a process that has ended, and one that is out of sight.
#[test]
fn drivers_in_user_space_are_found() {
    for path in [
        "/dev/vfio/7",
        "/dev/vfio/noiommu-7",
        "/dev/vfio/devices/vfio3",
        "/dev/uio2",
    ] {
        let machine = Machine::new();
        machine.device(
            PCI,
            super::super::inventory::CLASS_NVME,
            Some("vfio-pci"),
            Some(7),
        );
        machine.write(
            &format!("/sys/bus/pci/devices/{PCI}/vfio-dev/vfio3/dev"),
            "511:3\n",
        );
        machine.write(&format!("/sys/bus/pci/devices/{PCI}/uio/uio2/dev"), "240:2\n");
        machine.process(42, "helios", path);
        machine.process(44, "other", "/dev/vfio/8");
        machine.write("/proc/45/comm", "ended\n");
        assert_eq!(shown(&machine), ["open in process 42 (helios)"], "{path}");
    }
    let machine = Machine::new();
    machine.write("/proc/50/fd", "no directory");
    assert!(OpenDevices::look(&machine.host()).hidden);
}

/// Goal: reasons are written for programs as they are documented, paths that are no text included. Method: one of each form.
#[test]
fn reasons_as_json() {
    use std::os::unix::ffi::OsStrExt;
    let json = |found: Use| serde_json::to_string(&found).expect("JSON");
    let device = "nvme0n1".to_owned();
    let at = |bytes: &[u8]| PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
    assert_eq!(
        json(Use::Mounted {
            device: device.clone(),
            at: at(b"/srv")
        }),
        r#"{"why":"mounted","device":"nvme0n1","at":"/srv"}"#
    );
    assert_eq!(
        json(Use::Mounted {
            device: device.clone(),
            at: at(b"/\xff")
        }),
        r#"{"why":"mounted","device":"nvme0n1","at":{"hex":"2fff"}}"#
    );
    assert_eq!(
        json(Use::Partitions {
            device,
            table: None,
            partitions: vec![]
        }),
        r#"{"why":"partitions","device":"nvme0n1","table":null,"partitions":[]}"#
    );
}

use super::super::finding::{Fix, State};
use super::super::inventory::CLASS_NVME;
use super::super::testing::{Machine, OTHER, PCI};
use super::super::{BindOptions, allocate, bind, give_hugepages};
use super::*;

fn state(machine: &Machine, condition: &str) -> State {
    finding(machine, condition).state
}

fn finding(machine: &Machine, condition: &str) -> Finding {
    let findings = check(&machine.host(), Some(machine.address())).expect("a device");
    let found = findings.iter().find(|finding| finding.condition == condition);
    found
        .unwrap_or_else(|| panic!("no {condition} in {findings:?}"))
        .clone()
}

fn fix(machine: &Machine, condition: &str) -> String {
    match finding(machine, condition).fix {
        Some(Fix::AsRoot(command)) => command,
        Some(Fix::Advice(text)) => text,
        None => String::new(),
    }
}

/// Goal: on a machine that nobody has prepared, everything that is missing is named, and the commands that are given as
/// fixes lead to one where nothing is. Method: run what the fixes say, one after another, as root for an ordinary user.
#[test]
fn from_missing_to_ready() {
    let machine = Machine::new();
    machine.nvme();
    machine.remove("/sys/bus/pci/drivers/vfio-pci");
    machine.remove("/sys/class/iommu/dmar0");
    machine.write("/proc/cpuinfo", "vendor_id : GenuineIntel\n");
    let as_user = |machine: &Machine| machine.script().user = 1000;
    let as_root = |machine: &Machine| machine.script().user = 0;
    as_user(&machine);
    machine.script().lockable_bytes = Some(8 << 20);
    for (condition, words) in [
        ("hugepages", "helios device hugepages 1GiB"),
        ("hugetlbfs", "helios device hugepages 1GiB --user 1000"),
        ("iommu", "intel_iommu=on"),
        ("module", "modprobe vfio-pci"),
        ("memlock", "memlock unlimited"),
        ("driver", "helios device bind 0000:5e:00.0"),
    ] {
        assert_eq!(state(&machine, condition), State::Missing, "{condition}");
        assert!(
            fix(&machine, condition).contains(words),
            "{}",
            fix(&machine, condition)
        );
    }
    assert_eq!(state(&machine, "use"), State::Ok);

    as_root(&machine);
    machine.write("/sys/class/iommu/dmar0/version", "1");
    allocate(&machine.host(), 1 << 30, None).expect("hugepages");
    bind(&machine.host(), &[machine.address()], &BindOptions::default()).expect("bound");
    as_user(&machine);
    machine.script().lockable_bytes = None;
    machine.script().unwritable.push("/dev/hugepages".to_owned());
    machine
        .script()
        .refused_opens
        .push(("/dev/vfio/7".to_owned(), ErrorKind::PermissionDenied));
    assert_eq!(state(&machine, "hugetlbfs"), State::Missing);
    assert_eq!(fix(&machine, "hugetlbfs"), "helios device hugepages --user 1000");
    assert_eq!(state(&machine, "access"), State::Missing);
    assert_eq!(
        fix(&machine, "access"),
        "helios device bind 0000:5e:00.0 --user 1000"
    );

    as_root(&machine);
    give_hugepages(&machine.host(), "1000").expect("given");
    let options = BindOptions {
        user: Some("1000".to_owned()),
        ..BindOptions::default()
    };
    bind(&machine.host(), &[machine.address()], &options).expect("given");
    as_user(&machine);
    machine.script().unwritable.clear();
    machine.script().refused_opens.clear();
    let findings = check(&machine.host(), Some(machine.address())).expect("a device");
    assert!(
        findings.iter().all(|finding| finding.state == State::Ok),
        "{findings:?}"
    );
    let conditions: Vec<&str> = findings.iter().map(|finding| finding.condition).collect();
    assert_eq!(
        conditions,
        [
            "hugepages",
            "hugetlbfs",
            "iommu",
            "module",
            "memlock",
            "driver",
            "group",
            "access"
        ]
    );
    require_controller(&machine.host(), machine.address()).expect("ready");
    require_memory(&machine.host()).expect("ready");
    // Without a device, the one that is bound is looked at.
    assert_eq!(check(&machine.host(), None).expect("found").len(), findings.len());
}

/// Goal: everything that keeps a device from being driven is an error of its own kind that names the device and what to do.
/// Method: a table of machines.
#[test]
fn what_stands_in_the_way_is_named() {
    let nvme = |driver, group| {
        let machine = Machine::new();
        machine.device(PCI, CLASS_NVME, driver, group);
        machine
    };
    let without_file = nvme(Some("vfio-pci"), Some(7));
    without_file.remove("/dev/vfio/7");
    let shared = nvme(Some("vfio-pci"), Some(7));
    shared.device(OTHER, CLASS_NVME, Some("nvme"), Some(7));
    let network = Machine::new();
    network.device(PCI, "0x020000", None, None);
    let busy = nvme(Some("vfio-pci"), Some(7));
    busy.script()
        .refused_opens
        .push(("/dev/vfio/7".to_owned(), ErrorKind::ResourceBusy));
    busy.process(42, "other", "/dev/vfio/7");
    let for_root = nvme(Some("uio_pci_generic"), None);
    for_root.script().user = 1000;
    let driven = nvme(Some("uio_pci_generic"), None);
    driven.write(&format!("/sys/bus/pci/devices/{PCI}/uio/uio0/dev"), "240:0\n");
    driven.process(42, "other", "/dev/uio0");
    for (machine, kind, words) in [
        (Machine::new(), ErrorKind::NotFound, "helios device list"),
        (network, ErrorKind::InvalidInput, "no NVMe device"),
        (nvme(None, None), ErrorKind::NotConnected, "helios device bind"),
        (
            nvme(Some("nvme"), None),
            ErrorKind::ResourceBusy,
            "helios device bind",
        ),
        (nvme(Some("xhci_hcd"), None), ErrorKind::ResourceBusy, "xhci_hcd"),
        (
            nvme(Some("vfio-pci"), None),
            ErrorKind::Unsupported,
            "IOMMU is off",
        ),
        (without_file, ErrorKind::NotFound, "dev/vfio/7 is missing"),
        (shared, ErrorKind::ResourceBusy, "shares the IOMMU group 7"),
        (busy, ErrorKind::ResourceBusy, "process 42 (other)"),
        (for_root, ErrorKind::PermissionDenied, "only root"),
        (driven, ErrorKind::ResourceBusy, "process 42 (other)"),
    ] {
        let error = require_controller(&machine.host(), machine.address()).expect_err(words);
        assert_eq!(error.kind(), kind, "{error}");
        let message = error.to_string();
        assert!(message.contains(words) && message.contains(PCI), "{message}");
    }
    for machine in [
        nvme(Some("uio_pci_generic"), None),
        nvme(Some("vfio-pci"), Some(7)),
    ] {
        require_controller(&machine.host(), machine.address()).expect("usable");
    }
}

/// Goal: a device that this very process drives may be opened by it again. Method: a busy group whose file is open here.
#[test]
fn our_own_use_is_no_obstacle() {
    let machine = Machine::new();
    machine.device(PCI, CLASS_NVME, Some("vfio-pci"), Some(7));
    machine
        .script()
        .refused_opens
        .push(("/dev/vfio/7".to_owned(), ErrorKind::ResourceBusy));
    require_controller(&machine.host(), machine.address()).expect_err("somebody else's");
    machine.link("/proc/self/fd/9", "/dev/vfio/7");
    require_controller(&machine.host(), machine.address()).expect("ours");
}

/// Goal: a machine without free hugepages is told how to get some, and one with none near the device is warned. Method:
/// counts by size and node.
#[test]
fn hugepages_are_counted() {
    let machine = Machine::new();
    machine.nvme();
    machine.write(&format!("/sys/bus/pci/devices/{PCI}/numa_node"), "1\n");
    let error = require_memory(&machine.host()).expect_err("none");
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert!(
        error.to_string().contains("helios device hugepages 1GiB"),
        "{error}"
    );
    machine.pages("/sys/kernel/mm/hugepages", 512, 0);
    assert_eq!(state(&machine, "hugepages"), State::Missing);
    assert!(fix(&machine, "hugepages").contains("helios device hugepages 2GiB"));
    // Those of a killed process look the same, and are taken back by whoever starts next.
    require_memory(&machine.host()).expect("tried");
    machine.pages("/sys/kernel/mm/hugepages", 512, 2);
    machine.write("/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages", "2\n");
    assert_eq!(state(&machine, "hugepages"), State::Missing, "promised to others");
    machine.pages("/sys/kernel/mm/hugepages", 512, 2);
    assert_ne!(state(&machine, "hugepages"), State::Missing, "two free");
    machine.pages("/sys/devices/system/node/node0/hugepages", 512, 2);
    machine.pages("/sys/devices/system/node/node1/hugepages", 0, 0);
    assert_eq!(state(&machine, "hugepages"), State::Warning);
    assert_eq!(
        fix(&machine, "hugepages"),
        "helios device hugepages 1GiB --node 1"
    );
    machine.pages("/sys/devices/system/node/node1/hugepages", 2, 2);
    assert_eq!(state(&machine, "hugepages"), State::Ok);
}

/// Goal: memory that may be locked is judged by what devices need. Method: limits below and above, and the capability.
#[test]
fn lockable_memory() {
    let machine = Machine::new();
    machine.nvme();
    machine.pages("/sys/kernel/mm/hugepages", 512, 512);
    for (limit, expected) in [
        (Some(8 << 20), State::Missing),
        (Some(512 << 20), State::Missing),
        (Some(1 << 30), State::Ok),
        (None, State::Ok),
    ] {
        machine.script().lockable_bytes = limit;
        assert_eq!(state(&machine, "memlock"), expected, "{limit:?}");
    }
    machine.script().lockable_bytes = Some(8 << 20);
    machine.write("/proc/self/status", "CapEff:\t000001ffffffffff\n");
    assert_eq!(state(&machine, "memlock"), State::Ok);
}

/// Goal: what uses a device of the kernel's, or is on it, is part of the list. Method: one that is mounted, one with data.
#[test]
fn what_uses_it_is_part_of_the_list() {
    let machine = Machine::new();
    machine.nvme();
    machine.partition("nvme0n1", "nvme0n1p1", "259:1");
    assert_eq!(state(&machine, "use"), State::Warning);
    assert!(fix(&machine, "use").contains("--force --erase 0000:5e:00.0"));
    // Who may not look is not told to give anything up.
    let machine = Machine::new();
    machine.nvme();
    machine.remove("/dev/nvme0n1");
    machine.script().user = 1000;
    assert_eq!(fix(&machine, "use"), "helios device check 0000:5e:00.0");
    machine.partition("nvme0n1", "nvme0n1p1", "259:1");
    machine.append(
        "/proc/self/mountinfo",
        "30 22 259:1 / /srv rw - ext4 /dev/nvme0n1p1 rw\n",
    );
    assert_eq!(state(&machine, "use"), State::Missing);
    assert!(finding(&machine, "use").what.contains("mounted at /srv"));
}

/// Goal: without an IOMMU the list says what that costs instead of asking for one. Method: uio, and vfio that goes without.
#[test]
fn without_an_iommu() {
    let machine = Machine::new();
    machine.remove("/sys/class/iommu/dmar0");
    machine.device(PCI, CLASS_NVME, Some("uio_pci_generic"), None);
    let findings = check(&machine.host(), Some(machine.address())).expect("a device");
    let conditions: Vec<&str> = findings.iter().map(|finding| finding.condition).collect();
    assert_eq!(conditions, ["hugepages", "hugetlbfs", "driver", "access"]);
    assert_eq!(state(&machine, "access"), State::Warning);

    let machine = Machine::new();
    machine.remove("/sys/class/iommu/dmar0");
    machine.device(PCI, CLASS_NVME, Some("vfio-pci"), Some(0));
    machine.remove("/dev/vfio/0");
    machine.write("/dev/vfio/noiommu-0", "");
    machine.write("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
    assert_eq!(state(&machine, "iommu"), State::Warning);
    assert_eq!(state(&machine, "access"), State::Ok);
    machine
        .script()
        .refused_opens
        .push(("/dev/vfio/noiommu-0".to_owned(), ErrorKind::PermissionDenied));
    assert!(fix(&machine, "access").contains("only root"));
}

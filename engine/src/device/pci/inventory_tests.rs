use super::super::testing::{Machine, OTHER, PCI};
use super::*;

/// Goal: everything the kernel knows is found where it shows it. Method: a machine with two controllers and a network card.
#[test]
fn everything_known_is_listed() {
    let machine = Machine::new();
    machine.nvme();
    machine.write(&format!("{DEVICES}/{PCI}/numa_node"), "1\n");
    machine.device(OTHER, CLASS_NVME, Some("vfio-pci"), Some(8));
    machine.device("0000:00:01.0", "0x020000", Some("e1000e"), None);
    machine.partition("nvme0n1", "nvme0n1p1", "259:1");
    machine.write("/usr/share/misc/pci.ids", "144d  Samsung\n\ta808  SM981\n");
    let found = list(&machine.host());
    let [first, second] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(first.address.to_string(), PCI);
    assert_eq!(first.id.as_deref(), Some("144d:a808"));
    assert_eq!(first.vendor.as_deref(), Some("Samsung"));
    assert_eq!(first.model.as_deref(), Some("Fast Disk 9000"));
    assert_eq!(first.serial.as_deref(), Some("S1234"));
    assert_eq!(first.driver.as_deref(), Some("nvme"));
    assert_eq!((first.numa_node, first.iommu_group), (Some(1), Some(7)));
    assert_eq!(first.size, Some(1 << 20));
    assert_eq!(first.namespaces[0].partitions, ["nvme0n1p1"]);

    // The kernel does not have the second: nothing is invented.
    assert_eq!(second.model.as_deref(), Some("SM981"));
    assert_eq!((second.size, second.numa_node), (None, None));
    assert_eq!((&second.serial, &second.namespaces), (&None, &Vec::new()));
}

/// Goal: a namespace that can be reached through several controllers is the block device that can be used, not the hidden
/// path to it. Method: the names the kernel gives with and without multipath, and what else is in that directory.
#[test]
fn hidden_paths_are_followed() {
    let machine = Machine::new();
    machine.nvme();
    machine.namespace(PCI, "nvme3c0n2", "nvme3n2");
    for other in [
        "ng3c0n2",
        "nvme0",
        "nvme3c0n2p1",
        "nvmen1",
        "hwmon1",
        "nvme0n1x",
        "power",
    ] {
        machine.write(&format!("{DEVICES}/{PCI}/nvme/nvme0/{other}/size"), "2\n");
    }
    let found = find(&machine.host(), machine.address()).expect("found");
    let names: Vec<&str> = found
        .namespaces
        .iter()
        .map(|namespace| namespace.name.as_str())
        .collect();
    assert_eq!(names, ["nvme0n1", "nvme3n2"]);
    assert_eq!(found.size, Some(2 << 20));
}

/// Goal: garbage is unknown, and does no harm. Method: attributes that are no text, no number, too long, missing or
/// directories; names in the directory of devices that are no addresses.
#[test]
fn garbage_is_unknown() {
    let machine = Machine::new();
    machine.nvme();
    let device = format!("{DEVICES}/{PCI}");
    let namespace = "/sys/class/block/nvme0n1/size";
    for (path, garbage) in [
        (format!("{device}/numa_node"), &b"\xff\xfe"[..]),
        (format!("{device}/vendor"), b"144d"),
        (format!("{device}/device"), b"0x99999"),
        (format!("{device}/nvme/nvme0/model"), b"\x1b[31m\xff\n\n"),
        (format!("{device}/nvme/nvme0/serial"), b" \0\n"),
        (namespace.to_owned(), b"99999999999999999999999"),
    ] {
        machine.write(&path, garbage);
    }
    machine.write(
        &format!("{device}/nvme/nvme0/nvme0n1/size"),
        "18446744073709551615\n",
    );
    machine.remove(&format!("{device}/iommu_group"));
    machine.link(&format!("{device}/iommu_group"), "../../x");
    for name in ["..x", "0000:5e", "0000:5e:00.0.bak"] {
        machine.write(&format!("{DEVICES}/{name}/class"), CLASS_NVME);
    }
    let found = list(&machine.host());
    assert_eq!(found.len(), 1, "{found:?}");
    let found = &found[0];
    assert_eq!(
        (&found.id, found.numa_node, found.iommu_group),
        (&None, None, None)
    );
    assert_eq!((&found.serial, found.size), (&None, None));
    let model = found.model.as_deref().expect("some text");
    assert!(!model.contains(char::is_control), "{model:?}");
    machine.write(&format!("{device}/class"), vec![b'0'; 1 << 20]);
    assert!(list(&machine.host()).is_empty());
    // A machine without PCI.
    machine.remove("/sys/bus/pci");
    assert!(list(&machine.host()).is_empty());
}

/// Goal: what is not there, and what is something else, are told apart. Method: ask for both.
#[test]
fn other_devices_are_refused() {
    let machine = Machine::new();
    machine.device(OTHER, "0x020000", None, None);
    let find = |pci: &str| find(&machine.host(), pci.parse().expect("an address")).expect_err(pci);
    assert!(matches!(find(PCI), Error::NotFound { .. }));
    assert!(find(PCI).to_string().contains(PCI));
    let error = find(OTHER);
    assert!(
        matches!(error, Error::NotNvme { .. }) && error.to_string().contains("0x020000"),
        "{error}"
    );
    assert!(error.fix().is_some_and(|fix| fix.contains("helios device list")));
}

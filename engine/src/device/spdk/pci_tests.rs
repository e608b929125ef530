use std::os::unix::fs::symlink;

use super::*;

const PCI: &str = "0000:5e:00.0";

/// A made-up machine with one device.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new(class: &str, driver: Option<&str>, group: Option<&str>) -> Machine {
        let machine = Machine(tempfile::tempdir().expect("directory"));
        let device = machine.0.path().join("sys/bus/pci/devices").join(PCI);
        fs::create_dir_all(&device).expect("device");
        fs::write(device.join("class"), format!("{class}\n")).expect("class");
        if let Some(driver) = driver {
            symlink(format!("../../drivers/{driver}"), device.join("driver")).expect("driver");
        }
        if let Some(group) = group {
            symlink(
                format!("../../../kernel/iommu_groups/{group}"),
                device.join("iommu_group"),
            )
            .expect("group");
        }
        machine
    }

    fn vfio_file(self, name: &str) -> Machine {
        let directory = self.0.path().join("dev/vfio");
        fs::create_dir_all(&directory).expect("vfio");
        fs::write(directory.join(name), "").expect("file");
        self
    }

    fn check(&self) -> io::Result<()> {
        check(self.0.path(), PCI)
    }
}

/// Goal: everything that keeps a device from being driven is named with what to do. Method: a table of machines.
#[test]
fn what_stands_in_the_way_is_named() {
    let nvme = |driver, group| Machine::new(CLASS_NVME, driver, group);
    let refused = [
        (
            Machine::new("0x020000", None, None),
            ErrorKind::InvalidInput,
            "no NVMe device",
        ),
        (nvme(None, None), ErrorKind::NotConnected, "drivers_probe"),
        (
            nvme(Some("nvme"), None),
            ErrorKind::ResourceBusy,
            "drivers/nvme/unbind",
        ),
        (nvme(Some("xhci_hcd"), None), ErrorKind::ResourceBusy, "xhci_hcd"),
        (
            nvme(Some("vfio-pci"), None),
            ErrorKind::Unsupported,
            "IOMMU is off",
        ),
        (
            nvme(Some("vfio-pci"), Some("7")),
            ErrorKind::NotFound,
            "dev/vfio/7 is missing",
        ),
    ];
    for (machine, kind, words) in refused {
        let error = machine.check().expect_err(words);
        assert_eq!(error.kind(), kind, "{error}");
        let message = error.to_string();
        assert!(message.contains(words) && message.contains(PCI), "{message}");
    }
    let missing = check(tempfile::tempdir().expect("directory").path(), "0000:00:00.0");
    assert_eq!(missing.expect_err("no device").kind(), ErrorKind::NotFound);
    for machine in [
        nvme(Some("uio_pci_generic"), None),
        nvme(Some("vfio-pci"), Some("7")).vfio_file("7"),
        nvme(Some("vfio-pci"), Some("7")).vfio_file("noiommu-7"),
    ] {
        machine.check().expect("usable");
    }
}

/// Goal: a machine without free hugepages is told how to get some. Method: counts of two sizes.
#[test]
fn hugepages_are_counted() {
    let machine = tempfile::tempdir().expect("directory");
    let set = |size: &str, free: &str| {
        let directory = machine.path().join("sys/kernel/mm/hugepages").join(size);
        fs::create_dir_all(&directory).expect("directory");
        fs::write(directory.join("free_hugepages"), free).expect("count");
    };
    let none = check_hugepages(machine.path()).expect_err("no such directory");
    assert!(none.to_string().contains("nr_hugepages"), "{none}");
    set("hugepages-2048kB", "0\n");
    check_hugepages(machine.path()).expect_err("none free");
    set("hugepages-1048576kB", "2\n");
    check_hugepages(machine.path()).expect("two free");
}

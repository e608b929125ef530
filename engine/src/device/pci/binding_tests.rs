use super::super::inventory::CLASS_NVME;
use super::super::testing::{Arrange, Machine, OTHER, PCI, ran};
use super::*;

const VFIO: Option<&str> = Some("vfio-pci");
const UNBIND: &str = "drivers/nvme/unbind";

fn fresh() -> Machine {
    let machine = Machine::new();
    machine.nvme();
    machine
}

fn bind_one(machine: &Machine, options: &BindOptions) -> Result<Bound, Error> {
    let mut bound = bind(&machine.host(), &[machine.address()], options)?;
    assert_eq!(bound.len(), 1);
    Ok(bound.remove(0))
}

/// An error that left everything as it was.
fn refused(machine: &Machine, options: &BindOptions) -> Error {
    let before = machine.driver(PCI);
    let error = bind_one(machine, options).expect_err("refused");
    assert_eq!(machine.driver(PCI), before);
    let log = &machine.script().log;
    assert!(
        !log.iter().any(|line| line.contains("/sys/")),
        "{error} came after {log:?}"
    );
    error
}

fn erase(machine: &Machine) -> BindOptions {
    BindOptions {
        erase: vec![machine.address()],
        ..BindOptions::default()
    }
}

/// Goal: a device goes to user space and comes back, by the steps the kernel wants, in their order; a second time nothing
/// is done. Method: look at everything that was written.
#[test]
fn there_and_back() {
    let machine = fresh();
    let bound = bind_one(&machine, &BindOptions::default()).expect("bound");
    assert_eq!(machine.driver(PCI).as_deref(), VFIO);
    assert_eq!(
        (bound.driver.as_str(), bound.driver_before.as_deref()),
        ("vfio-pci", Some("nvme"))
    );
    assert_eq!(bound.file.as_deref(), Some("/dev/vfio/7"));
    let writes = |machine: &Machine| -> Vec<String> {
        let log = std::mem::take(&mut machine.script().log);
        log.into_iter().filter(|line| line.contains(" > ")).collect()
    };
    let choice = format!("/sys/bus/pci/devices/{PCI}/driver_override");
    assert_eq!(
        writes(&machine),
        [
            format!("vfio-pci > {choice}"),
            format!("{PCI} > /sys/bus/pci/drivers/nvme/unbind"),
            format!("{PCI} > /sys/bus/pci/drivers_probe"),
        ]
    );
    let again = bind_one(&machine, &BindOptions::default()).expect("bound already");
    assert_eq!(again.driver_before.as_deref(), VFIO);
    assert_eq!(writes(&machine), [""; 0]);

    let returned = unbind(&machine.host(), &[machine.address(), machine.address()]).expect("returned");
    assert_eq!(returned.len(), 1);
    assert_eq!(
        (returned[0].driver.as_str(), &returned[0].namespaces[..]),
        ("nvme", &["nvme0n1".to_owned()][..])
    );
    assert_eq!(machine.driver(PCI).as_deref(), Some("nvme"));
    assert_eq!(
        writes(&machine),
        [
            format!(" > {choice}"),
            format!("{PCI} > /sys/bus/pci/drivers/vfio-pci/unbind"),
            format!("{PCI} > /sys/bus/pci/drivers_probe"),
        ]
    );
    assert_eq!(machine.read(&choice), "(null)\n");
    let again = unbind(&machine.host(), &[machine.address()]).expect("returned already");
    assert_eq!(again[0].driver_before.as_deref(), Some("nvme"));
    assert_eq!(writes(&machine), [""; 0]);
}

/// Goal: the group of a device can be given to a user, by name or number, and nothing else can. Method: both, a user that
/// does not exist, a driver that only root can use.
#[test]
fn the_group_is_given_to_a_user() {
    let with_user = |user: &str| BindOptions {
        user: Some(user.to_owned()),
        ..BindOptions::default()
    };
    let machine = fresh();
    bind_one(&machine, &with_user("agent")).expect("bound");
    // It is given away where the driver is right already, too.
    bind_one(&machine, &with_user("77")).expect("bound");
    let file = || "/dev/vfio/7".to_owned();
    assert_eq!(machine.script().given, [(file(), 1000), (file(), 77)]);
    assert!(machine.script().log.contains(&"id -u -- agent".to_owned()));

    let machine = fresh();
    machine.program("id", ran(1, ""));
    assert!(matches!(
        refused(&machine, &with_user("nobody-knows")),
        Error::NoUser { .. }
    ));
    let uio = BindOptions {
        driver: Driver::UioPciGeneric,
        ..with_user("agent")
    };
    assert!(matches!(refused(&machine, &uio), Error::RootOnly { .. }));
}

/// Goal: what is in use is never taken, not even by someone who insists. Method: a mounted one, one that the kernel has
/// given to somebody without saying so, one that is open; by root who has named it twice.
#[test]
fn what_is_in_use_is_never_taken() {
    let cases: [(&str, Arrange); 4] = [
        ("mounted at /srv", |machine| {
            machine.append("/proc/self/mountinfo", "30 22 259:0 / /srv rw - ext4 /dev/x rw\n");
        }),
        ("held by dm-0", |machine| {
            machine.write("/sys/class/block/nvme0n1/holders/dm-0", "")
        }),
        ("for itself alone", |machine| {
            machine.script().claimed.push("/dev/nvme0n1".to_owned())
        }),
        ("process 9 (dd)", |machine| {
            machine.process(9, "dd", "/dev/nvme0n1")
        }),
    ];
    for (words, arrange) in cases {
        let machine = fresh();
        arrange(&machine);
        let error = refused(&machine, &erase(&machine));
        assert!(matches!(error, Error::InUse { .. }), "{error}");
        assert!(
            error.to_string().contains(words) && error.to_string().contains(PCI),
            "{error}"
        );
    }
}

/// Goal: the device manager, which looks at new block devices for a moment, is waited for. Method: a process that ends
/// while it is waited for.
#[test]
fn a_passing_look_is_waited_for() {
    let machine = fresh();
    machine.process(9, "(udev-worker)", "/dev/nvme0n1");
    let process = machine.path("/proc/9");
    machine.script().at_pause = Some(Box::new(move || {
        std::fs::remove_dir_all(process).expect("ended");
    }));
    bind_one(&machine, &BindOptions::default()).expect("bound");
}

/// Goal: somebody's data is given up only by someone who names the device a second time, and what cannot be looked at is
/// somebody's. Method: partitions, a signature, no `blkid`; without the second name, with that of another device, with it.
#[test]
fn data_is_given_up_only_by_name() {
    let cases: [Arrange; 3] = [
        |machine| machine.partition("nvme0n1", "nvme0n1p1", "259:1"),
        |machine| machine.program("blkid", ran(0, "TYPE=ext4\n")),
        |machine| machine.script().programs.retain(|(name, _)| *name != "blkid"),
    ];
    for arrange in cases {
        let machine = fresh();
        arrange(&machine);
        let error = refused(&machine, &BindOptions::default());
        let fix = error.fix().unwrap_or_default();
        assert!(matches!(error, Error::NotEmpty { .. }), "{error}");
        assert!(
            fix.contains(&format!("helios device bind {PCI} --force --erase {PCI}")),
            "{fix}"
        );
        let another = BindOptions {
            erase: vec![OTHER.parse().expect("an address")],
            ..BindOptions::default()
        };
        assert!(matches!(refused(&machine, &another), Error::NotEmpty { .. }));
        let bound = bind_one(&machine, &erase(&machine)).expect("given up");
        assert_eq!(bound.given_up.len(), 1, "{bound:?}");
    }
}

/// Goal: a store moves to user space without more words, because it is used there as it is. Method: bind one.
#[test]
fn a_store_is_taken_as_it_is() {
    let machine = fresh();
    let mut bytes = vec![0; 1 << 20];
    bytes[4..12].copy_from_slice(&crate::device::STORE_MAGIC);
    machine.write("/dev/nvme0n1", bytes);
    let bound = bind_one(&machine, &BindOptions::default()).expect("bound");
    assert_eq!(bound.given_up, []);
}

/// Goal: only root changes the machine, and everybody else is told so. Method: both directions as another user.
#[test]
fn only_root_may() {
    let machine = fresh();
    machine.script().user = 1000;
    assert!(matches!(
        refused(&machine, &BindOptions::default()),
        Error::NotRoot { .. }
    ));
    let error = unbind(&machine.host(), &[machine.address()]).expect_err("refused");
    assert!(matches!(error, Error::NotRoot { .. }));
}

/// Goal: a group is driven as a whole. Method: a second NVMe device in the group, then both together; a sound card, a
/// bridge, and a device without a driver in the group.
#[test]
fn groups_are_whole() {
    let machine = fresh();
    machine.device(OTHER, CLASS_NVME, Some("nvme"), Some(7));
    machine.device("0000:5d:00.0", "0x060400", Some("pcieport"), Some(7));
    machine.device("0000:5e:00.2", "0x020000", None, Some(7));
    let error = refused(&machine, &BindOptions::default());
    assert!(matches!(error, Error::GroupHeld { group: 7, .. }), "{error}");
    let fix = error.fix().unwrap_or_default();
    assert!(
        fix.contains(&format!("helios device bind {PCI} {OTHER}")),
        "{fix}"
    );
    let both = [OTHER.parse().expect("an address"), machine.address()];
    let bound = bind(&machine.host(), &both, &BindOptions::default()).expect("both");
    assert_eq!(bound.len(), 2);
    assert_eq!(
        (machine.driver(PCI).as_deref(), machine.driver(OTHER).as_deref()),
        (VFIO, VFIO)
    );

    let machine = fresh();
    machine.device(OTHER, "0x040300", Some("snd_hda_intel"), Some(7));
    let error = refused(&machine, &BindOptions::default());
    assert!(error.to_string().contains("snd_hda_intel"), "{error}");
}

/// Goal: without an IOMMU vfio is refused with what turns it on, and the other driver works; with one, the other driver is
/// refused where it cannot work. Method: machines with and without, and one that allows vfio to go without.
#[test]
fn the_iommu_decides() {
    let uio = BindOptions {
        driver: Driver::UioPciGeneric,
        ..BindOptions::default()
    };
    let without = || {
        let machine = fresh();
        machine.remove(&format!("/sys/bus/pci/devices/{PCI}/iommu_group"));
        machine
    };
    for (processor, words) in [
        ("vendor_id\t: GenuineIntel\n", "intel_iommu=on"),
        ("vendor_id\t: AuthenticAMD\n", "AMD-Vi"),
        ("", "firmware"),
    ] {
        let machine = without();
        machine.write("/proc/cpuinfo", processor);
        let error = refused(&machine, &BindOptions::default());
        let fix = error.fix().unwrap_or_default();
        assert!(matches!(error, Error::NoIommu { .. }), "{error}");
        assert!(
            fix.contains(words) && fix.contains("--driver uio_pci_generic"),
            "{fix}"
        );
    }
    let machine = without();
    machine.write(&format!("/sys/bus/pci/devices/{PCI}/uio/uio0/dev"), "240:0\n");
    let bound = bind_one(&machine, &uio).expect("bound");
    assert_eq!(
        (bound.driver.as_str(), bound.file.as_deref()),
        ("uio_pci_generic", Some("/dev/uio0"))
    );

    let machine = fresh();
    assert!(matches!(refused(&machine, &uio), Error::Translated { .. }));
    machine.write("/sys/kernel/iommu_groups/7/type", "identity\n");
    bind_one(&machine, &uio).expect("not translated");

    // The driver makes the group, and its file has another name; nobody but root can open it.
    let machine = without();
    machine.write("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
    machine.write("/dev/vfio/noiommu-0", "");
    let device = machine.path(&format!("/sys/bus/pci/devices/{PCI}/iommu_group"));
    let appear =
        move || std::os::unix::fs::symlink("../../../../kernel/iommu_groups/0", device).expect("link");
    machine.script().at_pause = Some(Box::new(appear));
    let bound = bind_one(&machine, &BindOptions::default()).expect("bound");
    assert_eq!(bound.file.as_deref(), Some("/dev/vfio/noiommu-0"));
    let with_user = BindOptions {
        user: Some("agent".to_owned()),
        ..BindOptions::default()
    };
    assert!(bind_one(&machine, &with_user).is_err());
}

/// Goal: a driver that is not there is loaded, and one that cannot be is an error before anything is changed. Method: a
/// kernel without it; `modprobe` that works, fails, is missing.
#[test]
fn drivers_are_loaded() {
    let machine = fresh();
    machine.remove("/sys/bus/pci/drivers/vfio-pci");
    machine.program("modprobe", ran(1, ""));
    assert!(matches!(
        refused(&machine, &BindOptions::default()),
        Error::NoDriver { .. }
    ));
    machine.script().programs.retain(|(name, _)| *name != "modprobe");
    assert!(
        refused(&machine, &BindOptions::default())
            .to_string()
            .contains("modprobe")
    );
    machine.program("modprobe", ran(0, ""));
    bind_one(&machine, &BindOptions::default()).expect("bound");
    assert!(machine.script().log.contains(&"modprobe vfio-pci".to_owned()));
}

/// Goal: whatever step fails, everything is as it was before. Method: each write of the kernel refused, a driver that
/// binds nothing, a group whose file does not come, a second device that fails after the first has moved.
#[test]
fn failures_are_undone() {
    let cases: [(&str, Arrange); 5] = [
        ("choosing its driver", |machine| {
            machine.script().refused_writes.push(("driver_override", 0, 1))
        }),
        ("taking it from its driver", |machine| {
            machine.script().refused_writes.push((UNBIND, 0, 1))
        }),
        ("binding its driver", |machine| {
            machine.script().refused_writes.push(("drivers_probe", 0, 1))
        }),
        ("binding its driver", |machine| {
            machine.script().broken_drivers.push("vfio-pci")
        }),
        ("giving its group", |machine| {
            // No group comes, which is seen only after binding where vfio may go without an IOMMU.
            machine.remove(&format!("/sys/bus/pci/devices/{PCI}/iommu_group"));
            machine.write("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "Y\n");
        }),
    ];
    for (step, arrange) in cases {
        let machine = fresh();
        arrange(&machine);
        let error = bind_one(&machine, &BindOptions::default()).expect_err(step);
        let text = error.to_string();
        assert!(
            text.contains(step) && text.contains("everything is as it was"),
            "{text}"
        );
        assert_eq!(machine.driver(PCI).as_deref(), Some("nvme"), "{text}");
        assert_eq!(
            machine.read(&format!("/sys/bus/pci/devices/{PCI}/driver_override")),
            "(null)\n",
            "{text}"
        );
    }

    let machine = fresh();
    machine.device(OTHER, CLASS_NVME, Some("nvme"), Some(8));
    machine.script().refused_writes.push((UNBIND, 1, 1));
    let both = [machine.address(), OTHER.parse().expect("an address")];
    let error = bind(&machine.host(), &both, &BindOptions::default()).expect_err("the second fails");
    assert!(
        error.to_string().starts_with(&format!("the NVMe device {OTHER}")),
        "{error}"
    );
    assert_eq!(
        (machine.driver(PCI).as_deref(), machine.driver(OTHER).as_deref()),
        (Some("nvme"), Some("nvme"))
    );

    let machine = fresh();
    bind_one(&machine, &BindOptions::default()).expect("bound");
    machine.script().broken_drivers.push("nvme");
    let error = unbind(&machine.host(), &[machine.address()]).expect_err("nvme binds nothing");
    assert!(error.to_string().contains("everything is as it was"), "{error}");
    assert_eq!(machine.driver(PCI).as_deref(), VFIO);
}

/// Goal: who stops the program while it waits for the kernel finds everything as it was. Method: a driver that binds nothing,
/// a wish to stop after a few looks, and a kernel that takes its time to put the old driver back.
#[test]
fn stopping_undoes() {
    let machine = fresh();
    machine.script().broken_drivers.push("vfio-pci");
    let asked = std::sync::atomic::AtomicU32::new(0);
    let host = machine
        .host()
        .until(move || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= 3);
    let error = bind(&host, &[machine.address()], &BindOptions::default()).expect_err("stopped");
    assert!(error.to_string().contains("everything is as it was"), "{error}");
    assert_eq!(machine.driver(PCI).as_deref(), Some("nvme"));
    let waited = host.wait_for(|| None::<()>);
    assert_eq!(waited, None);
    let mut looks = 0;
    let seen = host.wait_for(|| {
        looks += 1;
        (looks == 10).then_some(())
    });
    assert_eq!(seen, Some(()), "the second wait was cut short");
}

/// Goal: what cannot be put back is said, with the command that does it. Method: a machine on which no driver binds after
/// the old one is gone, in both directions.
#[test]
fn what_is_left_is_said() {
    let machine = fresh();
    machine.script().broken_drivers.extend(["vfio-pci", "nvme"]);
    let text = bind_one(&machine, &BindOptions::default())
        .expect_err("stuck")
        .to_string();
    assert!(text.contains("is left without a driver"), "{text}");
    assert!(text.contains(&format!("helios device unbind {PCI}")), "{text}");

    let machine = fresh();
    bind_one(&machine, &BindOptions::default()).expect("bound");
    machine.script().broken_drivers.extend(["vfio-pci", "nvme"]);
    let error = unbind(&machine.host(), &[machine.address()]).expect_err("stuck");
    let text = error.to_string();
    assert!(
        text.contains(&format!("helios device bind {PCI} --driver vfio-pci")),
        "{text}"
    );
}

/// Goal: a device that a process drives is not taken away, because the kernel would wait for the process for ever. Method:
/// a process that shows in `/proc`, and one that only the kernel knows; back to the kernel, and to another driver.
#[test]
fn a_device_that_is_driven_stays() {
    let uio = BindOptions {
        driver: Driver::UioPciGeneric,
        ..BindOptions::default()
    };
    let cases: [(&str, Arrange); 2] = [
        ("process 42 (helios)", |machine| {
            machine.process(42, "helios", "/dev/vfio/7")
        }),
        ("out of sight", |machine| {
            let file = "/dev/vfio/7".to_owned();
            machine
                .script()
                .refused_opens
                .push((file, ErrorKind::ResourceBusy));
        }),
    ];
    for (words, arrange) in cases {
        let machine = fresh();
        bind_one(&machine, &BindOptions::default()).expect("bound");
        machine.write("/sys/kernel/iommu_groups/7/type", "identity\n");
        arrange(&machine);
        for error in [
            unbind(&machine.host(), &[machine.address()]).expect_err(words),
            bind_one(&machine, &uio).expect_err(words),
        ] {
            assert!(
                matches!(error, Error::InUse { .. }) && error.to_string().contains(words),
                "{error}"
            );
        }
        assert_eq!(machine.driver(PCI).as_deref(), VFIO);
    }
}

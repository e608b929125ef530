//! `helios device` on the machine the tests run on: whatever it has, nothing of it is changed.
//!
//! What needs devices, or changes a machine, is tested on made-up ones (`engine/src/device/pci`).

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::sandbox::Sandbox;

/// An address that no machine of the tests has.
const NOWHERE: &str = "fffe:ff:1f.7";

/// PCI devices of this machine, and whether they are NVMe.
fn devices() -> Vec<(String, bool)> {
    let entries = fs::read_dir("/sys/bus/pci/devices")
        .into_iter()
        .flatten()
        .flatten();
    let device = |entry: fs::DirEntry| {
        let class = fs::read_to_string(entry.path().join("class")).unwrap_or_default();
        let name = entry.file_name().into_string().expect("text");
        (name, class.trim() == "0x010802")
    };
    entries.map(device).collect()
}

/// Goal: the NVMe devices of the machine are listed, with every documented field, and a machine without says so. Method:
/// compare with what `/sys` says here.
#[test]
fn devices_are_listed() {
    let sandbox = Sandbox::bare();
    let mut expected: Vec<String> = devices()
        .into_iter()
        .filter(|(_, nvme)| *nvme)
        .map(|(name, _)| name)
        .collect();
    expected.sort();
    let listed = sandbox.json(["device", "list"]);
    let listed = listed["devices"].as_array().expect("a list");
    let addresses: Vec<&str> = listed
        .iter()
        .filter_map(|device| device["address"].as_str())
        .collect();
    assert_eq!(addresses, expected);
    for device in listed {
        for field in [
            "id",
            "vendor",
            "model",
            "serial",
            "driver",
            "numa_node",
            "iommu_group",
            "size",
            "namespaces",
            "uses",
            "all_processes_seen",
        ] {
            assert!(device.get(field).is_some(), "{field} in {device}");
        }
    }
    let text = sandbox.run(["device", "list"]);
    assert_eq!(text.contains("no NVMe devices"), expected.is_empty(), "{text}");
    assert!(!sandbox.store().exists(), "a store was made");
}

/// Goal: what is no device, or no NVMe device, is refused by every command, with the exit code that says which. Method: an
/// address that nothing has, texts that are none, a device of another kind if there is one.
#[test]
fn other_addresses_are_refused() {
    let sandbox = Sandbox::bare();
    for command in ["bind", "unbind", "check"] {
        let message = sandbox.fails(3, ["device", command, NOWHERE]);
        assert!(
            message.contains(NOWHERE) && message.contains("helios device list"),
            "{message}"
        );
        for text in [
            "",
            "..",
            "../../../etc",
            "0000:5e:00.0/../x",
            "0000:5e:00.8",
            "/dev/sda",
            "nvme:1",
            "sim:7",
        ] {
            sandbox.fails(2, ["device", command, text]);
        }
        sandbox.fails(
            2,
            [
                OsStr::new("device"),
                OsStr::new(command),
                OsStr::from_bytes(b"0000:5e:\xff0.0"),
            ],
        );
        if let Some((other, _)) = devices().iter().find(|(_, nvme)| !nvme) {
            let message = sandbox.fails(2, ["device", command, other]);
            assert!(message.contains("no NVMe device"), "{message}");
        }
    }
    sandbox.fails(3, ["device", "check", &format!("nvme:{NOWHERE}/1")]);
    sandbox.fails(2, ["device"]);
}

/// Goal: giving up data takes the address twice. Method: every way to leave a part of it out.
#[test]
fn data_is_given_up_by_saying_so_twice() {
    let sandbox = Sandbox::bare();
    let bind = |more: &[&str]| {
        let arguments = [&["device", "bind", NOWHERE], more].concat();
        sandbox.fails(2, arguments)
    };
    assert!(bind(&["--force"]).contains("--erase"));
    assert!(bind(&["--erase", NOWHERE]).contains("--force"));
    assert!(bind(&["--force", "--erase", "fffe:ff:1f.6"]).contains("is not among"));
    bind(&["--driver", "nvme"]);
    sandbox.fails(3, ["device", "bind", NOWHERE, "--force", "--erase", NOWHERE]);
}

/// Goal: hugepages are shown as the kernel counts them. Method: compare with `/sys`; counts may change meanwhile, sizes not.
#[test]
fn hugepages_are_shown() {
    let sandbox = Sandbox::bare();
    let shown = sandbox.json(["device", "hugepages"]);
    let sizes = fs::read_dir("/sys/kernel/mm/hugepages")
        .into_iter()
        .flatten()
        .flatten()
        .count();
    assert_eq!(shown["pages"].as_array().expect("a list").len(), sizes, "{shown}");
    for pages in shown["pages"].as_array().expect("a list") {
        for field in ["page_bytes", "total", "free", "reserved"] {
            assert!(pages[field].is_u64(), "{field} in {pages}");
        }
        assert!(pages["node"].is_null());
    }
    assert!(shown["nodes"].is_array() && shown["file_systems"].is_array() && shown["allocated"].is_null());
    assert!(sandbox.run(["device", "hugepages"]).contains("hugetlbfs"));
    sandbox.fails(2, ["device", "hugepages", "a lot"]);
    sandbox.fails(2, ["device", "hugepages", "--node", "0"]);
    sandbox.fails(3, ["device", "hugepages", "4M", "--node", "4000000000"]);
}

/// Goal: a check tells by its exit code whether everything holds, and by its lines what does not. Method: compare the code,
/// the JSON and the text on whatever machine this is.
#[test]
fn a_check_says_whether_everything_holds() {
    let sandbox = Sandbox::bare();
    let output = sandbox
        .helios()
        .args(["device", "check", "--json"])
        .output()
        .expect("it runs");
    let checked: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let conditions = checked["conditions"].as_array().expect("a list");
    let missing = conditions.iter().any(|condition| condition["state"] == "missing");
    assert_eq!(checked["ready"], !missing);
    assert_eq!(output.status.code(), Some(i32::from(missing)));
    for name in ["hugepages", "hugetlbfs"] {
        assert!(
            conditions.iter().any(|condition| condition["condition"] == name),
            "{checked}"
        );
    }
    for condition in conditions.iter().filter(|condition| condition["state"] != "ok") {
        let fix = &condition["fix"];
        assert!(
            fix["as_root"].is_string() || fix["advice"].is_string(),
            "{condition}"
        );
    }
    let output = sandbox
        .helios()
        .args(["device", "check"])
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        text.contains("everything holds"),
        output.status.success(),
        "{text}"
    );
}

/// Goal: without rights a command says what root has to run. Method: as an ordinary user, with arguments for a shell.
#[test]
fn who_is_not_root_gets_the_command_for_root() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
    let program = directory.path().join("helios");
    fs::copy(assert_cmd::cargo::cargo_bin!("helios"), &program).expect("a copy");
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&program);
        command
    } else {
        Command::new(&program)
    };
    command.args(["device", "hugepages", "4 MiB", "--user", "agent"]);
    let output = command.output().expect("it runs");
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    if fs::exists("/sys/kernel/mm/hugepages/hugepages-2048kB").unwrap_or(false) {
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(
            message.contains("as root: `helios device hugepages '4 MiB' --user agent`"),
            "{message}"
        );
    }
}

use super::*;

fn parse(address: &str) -> Address {
    address.parse().unwrap_or_else(|error| panic!("{error}"))
}

fn reason(address: &str) -> String {
    let error = address.parse::<Address>().expect_err(address);
    assert_eq!(error.address, address);
    error.reason
}

/// Goal: every form is understood, and what is printed is understood as the same. Method: a table.
#[test]
fn forms_round_trip() {
    let path = |path: &str| Address::Path(path.into());
    let nvme = |pci: &str, namespace| Address::Nvme {
        pci: pci.parse().expect("a PCI address"),
        namespace,
    };
    let tcp = |host: &str, nqn: &str| Address::NvmeTcp {
        host: host.into(),
        port: 4420,
        nqn: nqn.into(),
        namespace: 1,
    };
    let nqn = "nqn.2016-06.io.spdk:cnode1";
    let cases = [
        ("store", path("store"), "store"),
        ("/dev/nvme0n1", path("/dev/nvme0n1"), "/dev/nvme0n1"),
        ("file:store", path("store"), "store"),
        ("file:///srv/a b", path("/srv/a b"), "/srv/a b"),
        ("file:/srv/x", path("/srv/x"), "/srv/x"),
        ("file:sim:7", path("sim:7"), "file:sim:7"),
        ("./sim:7", path("./sim:7"), "./sim:7"),
        ("/srv/c:d", path("/srv/c:d"), "/srv/c:d"),
        ("7:d", path("7:d"), "7:d"),
        ("sim:7", Address::Sim { seed: 7 }, "sim:7"),
        ("sim:0xff", Address::Sim { seed: 255 }, "sim:255"),
        (
            "nvme:0000:5e:00.0/1",
            nvme("0000:5e:00.0", 1),
            "nvme:0000:5e:00.0/1",
        ),
        ("nvme:5E:1f.7/2", nvme("0000:5e:1f.7", 2), "nvme:0000:5e:1f.7/2"),
        (
            "nvme+tcp://store.example:4420/nqn.2016-06.io.spdk:cnode1/1",
            tcp("store.example", nqn),
            "nvme+tcp://store.example:4420/nqn.2016-06.io.spdk:cnode1/1",
        ),
        (
            "nvme+tcp://[fe80::1]:4420/nqn.a/b/1",
            tcp("fe80::1", "nqn.a/b"),
            "nvme+tcp://[fe80::1]:4420/nqn.a/b/1",
        ),
    ];
    for (written, address, printed) in cases {
        assert_eq!(parse(written), address, "{written}");
        assert_eq!(address.to_string(), printed);
        assert_eq!(parse(printed), address, "{printed}");
    }
}

/// Goal: a malformed address is an error that says what is wrong with which part. Method: a table.
#[test]
fn malformed_addresses_say_why() {
    let cases = [
        ("", "empty"),
        ("file:", "empty"),
        ("file:a\0b", "zero byte"),
        ("file://host/x", "no host"),
        ("fiel:store", "no `fiel:`"),
        ("sim:", "no number"),
        ("sim:-1", "no number"),
        ("sim:99999999999999999999", "no number"),
        ("nvme:0000:5e:00.0", "namespace is missing"),
        ("nvme:0000:5e:00.0/0", "numbered from 1"),
        ("nvme:0000:5e:00.0/4294967295", "numbered from 1"),
        ("nvme:0000:5e:20.0/1", "no PCI address"),
        ("nvme:0000:5e:00.8/1", "no PCI address"),
        ("nvme:0:0000:5e:00.0/1", "no PCI address"),
        ("nvme:+e:00.0/1", "no PCI address"),
        ("nvme:é:00.0/1", "no PCI address"),
        ("nvme+tcp:host:1/nqn.a/1", "write nvme+tcp://"),
        ("nvme+tcp://host:1", "subsystem is missing"),
        ("nvme+tcp://host:1/nqn.a", "namespace is missing"),
        ("nvme+tcp://host/nqn.a/1", "port is missing"),
        ("nvme+tcp://host:0/nqn.a/1", "no port"),
        ("nvme+tcp://:1/nqn.a/1", "no host"),
        ("nvme+tcp://fe80::1:1/nqn.a/1", "brackets"),
        ("nvme+tcp://[host]:1/nqn.a/1", "no IPv6"),
        ("nvme+tcp://host:1/a/1", "no subsystem name"),
    ];
    for (address, words) in cases {
        let reason = reason(address);
        assert!(reason.contains(words), "`{address}`: {reason}");
    }
    assert!(reason(&format!("nvme+tcp://h:1/nqn.{}/1", "x".repeat(220))).contains("no subsystem"));
}

/// Goal: names that are not UTF-8 reach the file they name. Method: parse bytes, with and without the scheme.
#[test]
fn paths_are_bytes() {
    for written in [&b"/srv/\xff"[..], b"file:/srv/\xff"] {
        let address = Address::parse(OsStr::from_bytes(written)).expect("parse");
        assert_eq!(address, Address::Path(OsStr::from_bytes(b"/srv/\xff").into()));
    }
    let error = Address::parse(OsStr::from_bytes(b"sim:\xff")).expect_err("no number");
    assert!(error.reason.contains("UTF-8"));
}

/// Goal: no input panics, and everything that parses prints as something that parses to the same.
/// Method: random strings of the characters that matter, and random bytes of any kind.
#[test]
fn random_addresses_round_trip() {
    use proptest::prelude::*;
    proptest!(|(text in "(file:|nvme:|nvme\\+tcp://|sim:|)[a-f0-9:/.@\\[\\]nq]{0,24}")| {
        if let Ok(address) = text.parse::<Address>() {
            prop_assert_eq!(address.to_string().parse::<Address>(), Ok(address));
        }
    });
    proptest!(|(bytes: Vec<u8>)| {
        let _ = Address::parse(OsStr::from_bytes(&bytes));
    });
}

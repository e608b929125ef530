use std::io::ErrorKind;
use std::net::TcpListener;

use super::*;

fn refused(address: &Address) -> std::io::Error {
    // Some targets say nothing at all, and are waited for.
    let bound = if matches!(address, Address::NvmeTcp { .. }) {
        1
    } else {
        15
    };
    let error = device::open(address, &options(Duration::from_secs(bound)));
    let error = error.err().expect("nothing is there");
    let text = error.to_string();
    assert!(text.starts_with(&address.to_string()), "{text}");
    println!("{text}");
    error
}

/// Goal: what is not there is an error that says what is there, or what to do. Method: another namespace and another
/// subsystem of the same target, a port that nobody listens on, and one whose listener never says a word; of a local device
/// another PCI address.
#[test]
#[ignore = "needs a device: README.md"]
fn what_is_not_there_is_an_error() {
    let namespace = elsewhere(None, None, 77).expect("a device of NVMe");
    let error = refused(&namespace);
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("no namespace 77; it has 1"), "{error}");
    if let Address::Nvme { .. } = address() {
        let nowhere = Address::Nvme {
            pci: "0000:ff:1f.7".parse().expect("an address"),
            namespace: 1,
        };
        let error = refused(&nowhere);
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("there is no PCI device"), "{error}");
        let harmless = open(Duration::from_secs(15)).open_queue(1);
        harmless.expect("a queue");
        return;
    }

    let subsystem = elsewhere(None, Some("nqn.2026-11.storage.helios:missing"), 1).expect("over TCP");
    let error = refused(&subsystem);
    assert!(error.to_string().contains("SPDK says: "), "{error}");

    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listen");
    let port = listener.local_addr().expect("address").port();
    let silent = elsewhere(Some(port), None, 1).expect("over TCP");
    let error = refused(&silent);
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(error.to_string().contains("says nothing"), "{error}");
    drop(listener);
    let error = refused(&silent);
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);

    // None of it has done harm.
    open(Duration::from_secs(15)).open_queue(1).expect("a queue");
}

/// Goal: a device that cannot be used is refused in words that say why and what to do. Method: the caller has made it so
/// and knows the words.
#[test]
#[ignore = "needs a device that cannot be used: README.md"]
fn unusable_device_is_refused() {
    let Some(words) = std::env::var("HELIOS_HW_REFUSED")
        .ok()
        .filter(|words| !words.is_empty())
    else {
        println!("skipped: HELIOS_HW_REFUSED does not say that the device cannot be used");
        return;
    };
    // Twice: the first time must not leave anything that changes the answer.
    for _ in 0..2 {
        let error = refused(&address()).to_string();
        assert!(error.contains(&words), "{error} does not say `{words}`");
    }
}

/// Goal: a device opened for reading takes no writes. Method: one of each command.
#[test]
#[ignore = "needs a device: README.md"]
fn read_only_devices_take_no_writes() {
    use helios_engine::device::{Command, Doorbell, Operation};
    let options = OpenOptions {
        read_only: true,
        ..options(Duration::from_secs(15))
    };
    let device = device::open(&address(), &options).expect("open");
    let mut queue = device.open_queue(4).expect("queue");
    let bell = Doorbell::new().expect("doorbell");
    let (mut buffer, mut written) = (|| queue.buffer(4096).expect("buffer"), Vec::new());
    let (read, write) = (buffer(), buffer());
    let operations = [
        Operation::Write {
            offset: 0,
            buffer: write,
            range: 0..4096,
            durable: false,
        },
        Operation::WriteZeroes { offset: 0, len: 4096 },
        Operation::Discard { offset: 0, len: 4096 },
        Operation::Read {
            offset: 0,
            buffer: read,
            range: 0..4096,
        },
    ];
    for (token, operation) in (0..).zip(operations) {
        assert!(queue.submit(Command { token, operation }).is_ok());
    }
    while queue.in_flight() > 0 {
        queue.wait(&bell, None);
        queue.poll(&mut written);
    }
    written.sort_by_key(|done| done.token);
    let kinds: Vec<_> = written
        .iter()
        .map(|done| done.result.as_ref().map_err(std::io::Error::kind))
        .collect();
    let denied = Err(ErrorKind::PermissionDenied);
    assert_eq!(kinds, [denied, denied, denied, Ok(&())]);
}

//! put, get, exists, pin, unpin.

use std::fs;

use crate::sandbox::{Sandbox, pattern};

/// Goal: ids are what b3sum prints, and what goes in comes out. Method: empty, small, one extent and chunked sizes.
#[test]
fn contents_come_back_under_their_hash() {
    let sandbox = Sandbox::new();
    for (place, length) in [0, 1, 4096, 1 << 20, (1 << 20) + 1, 5_000_000]
        .into_iter()
        .enumerate()
    {
        let bytes = pattern(length, place as u64);
        sandbox.write("file", &bytes);
        let printed = sandbox.run(["put", "file"]);
        let id = blake3::hash(&bytes).to_hex().to_string();
        assert_eq!(printed, format!("{id}  file\n"));
        let output = sandbox
            .helios()
            .args(["get", &id])
            .assert()
            .success()
            .get_output()
            .stdout
            .clone();
        assert!(output == bytes, "{length} bytes came back different");
    }
}

/// Goal: standard input and several files; `-q` prints ids alone.
#[test]
fn put_reads_standard_input_and_several_files() {
    let sandbox = Sandbox::new();
    let bytes = pattern(2_500_000, 3);
    let id = blake3::hash(&bytes).to_hex().to_string();
    for arguments in [&["put", "-q"][..], &["put", "-q", "-"]] {
        let output = sandbox
            .helios()
            .args(arguments)
            .write_stdin(bytes.clone())
            .assert()
            .success();
        assert_eq!(output.get_output().stdout, format!("{id}\n").into_bytes());
    }
    sandbox.write("a", "a");
    sandbox.write("b", "b");
    let printed = sandbox.run(["put", "-q", "a", "b"]);
    let ids: Vec<&str> = printed.lines().collect();
    assert_eq!(
        ids,
        [
            blake3::hash(b"a").to_hex().as_str(),
            blake3::hash(b"b").to_hex().as_str()
        ]
    );
}

/// Goal: ranges are exact at every kind of edge. Method: compare with slices of the original.
#[test]
fn ranges_are_slices() {
    let sandbox = Sandbox::new();
    let bytes = pattern(3_000_001, 9);
    sandbox.write("file", &bytes);
    let id = sandbox.run(["put", "-q", "file"]);
    for (offset, length) in [
        (0, 1),
        (2_999_999, 100),
        (3_000_001, 5),
        (1 << 20, 1 << 20),
        (77, 0),
        (1_234_567, 999_999),
    ] {
        let output = sandbox
            .helios()
            .args([
                "get",
                id.trim(),
                "--offset",
                &offset.to_string(),
                "--length",
                &length.to_string(),
            ])
            .assert()
            .success();
        let end = bytes.len().min(offset + length);
        assert!(
            output.get_output().stdout == bytes[offset.min(end)..end],
            "{offset} + {length}"
        );
    }
}

/// Goal: storing the same again costs nothing, and says so.
#[test]
fn equal_contents_are_stored_once() {
    let sandbox = Sandbox::new();
    sandbox.write("file", pattern(2_000_000, 1));
    let first = sandbox.json(["put", "file"]);
    assert_eq!(first["new"], true, "{first}");
    let second = sandbox.json(["put", "file"]);
    assert_eq!(second["id"], first["id"]);
    assert_eq!(second["new"], false, "{second}");
    assert_eq!(second["size"], 2_000_000);
}

/// Goal: `exists` answers by exit code and in words.
#[test]
fn exists_tells_stored_from_missing() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "here");
    let id = sandbox.run(["put", "-q", "file"]);
    let missing = blake3::hash(b"not here").to_hex().to_string();
    sandbox.helios().args(["exists", id.trim()]).assert().code(0);
    let output = sandbox
        .helios()
        .args(["exists", id.trim(), &missing, "--json"])
        .assert()
        .code(3);
    let reply: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).expect("JSON");
    assert_eq!(reply["contents"][0]["exists"], true);
    assert_eq!(reply["contents"][1]["exists"], false);
}

/// Goal: pins are counted, across openings of the store.
#[test]
fn pins_are_counted() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "pinned");
    let id = sandbox.run(["put", "-q", "--pin", "file"]);
    let id = id.trim();
    assert_eq!(sandbox.json(["pin", id])["contents"][0]["pins"], 2);
    assert_eq!(sandbox.json(["unpin", id])["contents"][0]["pins"], 1);
    assert_eq!(sandbox.json(["unpin", id])["contents"][0]["pins"], 0);
    let message = sandbox.fails(3, ["unpin", id]);
    assert!(message.contains(&id[..12]), "{message}");
    sandbox.fails(3, ["pin", blake3::hash(b"never stored").to_hex().as_str()]);
}

/// Goal: `get -o` leaves a whole file or none, and nothing else behind.
#[test]
fn an_output_file_is_whole_or_absent() {
    let sandbox = Sandbox::new();
    sandbox.write("file", pattern(1_500_000, 4));
    let id = sandbox.run(["put", "-q", "file"]);
    sandbox.run(["get", id.trim(), "-o", "copy"]);
    assert!(sandbox.read("copy") == sandbox.read("file"));
    let missing = blake3::hash(b"missing").to_hex().to_string();
    sandbox.fails(3, ["get", missing.as_str(), "-o", "other"]);
    let mut names: Vec<_> = fs::read_dir(sandbox.work())
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["copy", "file"]);
    sandbox.run(["get", id.trim(), "-o", "/dev/null"]);
}

/// Goal: what is no id, no file, or a directory is refused with a code of its own.
#[test]
fn bad_arguments_are_refused() {
    let sandbox = Sandbox::new();
    for id in [
        "",
        "abc",
        "z".repeat(64).as_str(),
        "0".repeat(65).as_str(),
        "../../etc/passwd",
    ] {
        sandbox.fails(2, ["get", id]);
        sandbox.fails(2, ["exists", id]);
        sandbox.fails(2, ["pin", id]);
    }
    let message = sandbox.fails(3, ["get", "0".repeat(64).as_str()]);
    assert!(message.contains("not found"), "{message}");
    sandbox.fails(3, ["put", "no-such-file"]);
    let message = sandbox.fails(2, ["put", "."]);
    assert!(message.contains("directory"), "{message}");
}

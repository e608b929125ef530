//! gc, scrub, a store that is full of what nobody needs: space comes back, damage is found and mended.

use std::os::unix::fs::FileExt;

use crate::sandbox::{Sandbox, pattern};

/// Changes a byte in every place of the store's file where `bytes` lie.
fn damage(sandbox: &Sandbox, bytes: &[u8]) {
    let image = std::fs::read(sandbox.store()).expect("the image");
    let places: Vec<usize> = (0..image.len() / 4096)
        .map(|unit| unit * 4096)
        .filter(|at| image[*at..].starts_with(&bytes[..64]))
        .collect();
    assert!(!places.is_empty(), "the content is not stored plainly");
    let file = std::fs::File::options()
        .write(true)
        .open(sandbox.store())
        .expect("the store");
    for at in places {
        file.write_all_at(&[!bytes[17]], at as u64 + 17).expect("written");
    }
}

/// Goal: what deleted branches held is forgotten, its space is free, and everything else stays. Method: a rehearsal
/// first, which changes nothing; checked with every byte read.
#[test]
fn deleted_branches_give_their_space_back() {
    let sandbox = Sandbox::bare();
    sandbox.run(["init", "--size", "128M", "-q"]);
    sandbox.write("kept", pattern(200_000, 1));
    sandbox.commit("kept");
    for branch in 0..4u64 {
        sandbox.write("large", pattern(5 << 20, 10 + branch));
        let name = format!("agent-{branch}");
        sandbox.run(["commit", "-b", &name, "-m", "x"]);
        sandbox.run(["branch", "-d", &name]);
    }
    let rehearsal = sandbox.json(["gc", "-n"]);
    let forgotten = rehearsal["forgotten_bytes"].as_u64().expect("a number");
    assert!(forgotten > 19 << 20, "{rehearsal}");
    assert_eq!(rehearsal["segments_freed"], 0);
    let free = |sandbox: &Sandbox| sandbox.json(["info"])["free"].as_u64().expect("a number");
    let before = free(&sandbox);
    let done = sandbox.json(["gc"]);
    assert_eq!(done["forgotten_bytes"], forgotten);
    assert!(free(&sandbox) >= before + (12 << 20), "{done}");
    assert_eq!(sandbox.json(["gc"])["forgotten"], 0);
    let checked = sandbox.json(["check", "--read-data"]);
    assert_eq!(checked["damage"], serde_json::json!([]), "{checked}");
    sandbox.run(["materialize", "main", "out"]);
    assert_eq!(
        std::fs::read(sandbox.path("work/out/kept")).expect("there"),
        pattern(200_000, 1)
    );
}

/// Goal: a store never fills up with what nobody needs. Method: write four times its size, a branch at a time, each
/// deleted before the next.
#[test]
fn a_store_that_fills_up_collects_by_itself() {
    let sandbox = Sandbox::bare();
    sandbox.run(["init", "--size", "64M", "-q"]);
    for round in 0..24 {
        sandbox.write("large", pattern(10 << 20, round));
        sandbox.run(["commit", "-b", "agent", "-m", "x"]);
        sandbox.run(["branch", "-d", "agent"]);
    }
    let checked = sandbox.json(["check", "--read-data"]);
    assert_eq!(checked["damage"], serde_json::json!([]), "{checked}");
}

/// Goal: branches whose time is over make room by themselves. Method: as above, but none is ever deleted.
#[test]
fn a_store_that_fills_up_lets_expired_branches_go() {
    let sandbox = Sandbox::bare();
    sandbox.run(["init", "--size", "96M", "-q"]);
    sandbox.write("small", "stays");
    sandbox.run(["commit", "-b", "main", "-m", "x"]);
    for round in 0..16 {
        sandbox.write("large", pattern(10 << 20, round));
        let branch = format!("agent-{round}");
        sandbox.run(["commit", "-b", &branch, "-m", "x"]);
        sandbox.run(["branch", &branch, "--expires", "0s"]);
    }
    let left = sandbox.json(["branch"]);
    assert!(
        left["references"].as_array().expect("a list").len() < 12,
        "{left}"
    );
    assert_eq!(sandbox.run(["cat", "main:small"]), "stays");
    let checked = sandbox.json(["check", "--read-data"]);
    assert_eq!(checked["damage"], serde_json::json!([]), "{checked}");
}

/// Goal: scrub names a damaged extent and the path to it, exits with its own code, and mends it from a directory that
/// has the file. Method: a flipped byte of a small file and of a chunk of a large one.
#[test]
fn scrub_finds_damage_and_mends_it() {
    let sandbox = Sandbox::new();
    let small = pattern(100_000, 7);
    let large = pattern(3 << 20, 8);
    sandbox.write("deep/small", &small);
    sandbox.write("large", &large);
    sandbox.commit("first");
    assert_eq!(sandbox.json(["scrub"])["damage"], serde_json::json!([]));
    damage(&sandbox, &small);
    damage(&sandbox, &large);
    let output = sandbox.helios().args(["scrub", "--json"]).assert().code(7);
    let found: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).expect("JSON");
    let list = found["damage"].as_array().expect("a list");
    assert_eq!(list.len(), 2, "{found}");
    let paths: Vec<String> = list.iter().map(|extent| extent["kept_by"].to_string()).collect();
    assert!(
        paths.iter().any(|path| path.contains("main:deep/small")),
        "{paths:?}"
    );
    assert!(paths.iter().any(|path| path.contains("main:large")), "{paths:?}");
    sandbox.helios().args(["check", "--read-data"]).assert().code(7);
    let mended = sandbox.json(["scrub", "--repair-from", "."]);
    assert_eq!(mended["repaired"], 2, "{mended}");
    assert_eq!(mended["damage"], serde_json::json!([]));
    let checked = sandbox.json(["check", "--read-data"]);
    assert_eq!(checked["damage"], serde_json::json!([]), "{checked}");
    sandbox.run(["materialize", "main", "../out"]);
    assert_eq!(
        std::fs::read(sandbox.path("out/deep/small")).expect("there"),
        small
    );
    assert_eq!(std::fs::read(sandbox.path("out/large")).expect("there"), large);
}

//! init, info, stats, check, and which store a command uses.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use crate::sandbox::{Sandbox, pattern};

/// Goal: without a name there is a default store, made on first use with a notice, under `XDG_DATA_HOME` or the home.
#[test]
fn the_default_store_is_made_on_first_use() {
    let sandbox = Sandbox::bare();
    let default = sandbox.path("home/.local/share/helios/store.helios");
    let output = sandbox
        .helios()
        .env_remove("HELIOS_STORE")
        .args(["info", "--json"])
        .assert()
        .success();
    let stderr = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(
        stderr.contains(default.to_str().expect("text")),
        "no notice: {stderr}"
    );
    let made = fs::metadata(&default).expect("the default store");
    assert!(made.blocks() * 512 < 1 << 30, "the file is not sparse");

    let again = sandbox
        .helios()
        .env_remove("HELIOS_STORE")
        .arg("info")
        .assert()
        .success();
    assert!(again.get_output().stderr.is_empty(), "the notice came twice");

    let data = sandbox.path("data");
    sandbox
        .helios()
        .env_remove("HELIOS_STORE")
        .env("XDG_DATA_HOME", &data)
        .args(["info", "-q"])
        .assert()
        .success();
    assert!(data.join("helios/store.helios").exists());
}

/// Goal: `--store` wins over `HELIOS_STORE`; both take paths and `file:` addresses.
#[test]
fn the_option_wins_over_the_environment() {
    let sandbox = Sandbox::new();
    let other = sandbox.path("other.helios");
    let address = format!("file:{}", other.display());
    sandbox.run(["init", &address, "--size", "512M"]);
    let info = sandbox.json(["--store", &address, "info"]);
    assert_eq!(info["size"].as_u64().map(|size| size >> 20), Some(512));
    let info = sandbox.json(["info", "--store", other.to_str().expect("text")]);
    assert_eq!(info["size"].as_u64().map(|size| size >> 20), Some(512));
    assert_eq!(
        sandbox.json(["info"])["size"].as_u64().map(|size| size >> 30),
        Some(1)
    );
}

/// Goal: how reactors wait, and how long a device may take, can be chosen, and what is neither is refused by name.
/// Method: every spelling; contents come back whatever the choice.
#[test]
fn polling_and_timeouts_are_chosen() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "kept");
    for options in [
        ["--poll", "busy"],
        ["--poll", "adaptive"],
        ["--command-timeout", "90s"],
    ] {
        let id = sandbox.json(options.into_iter().chain(["put", "file"]))["id"].clone();
        let id = id.as_str().expect("an id").to_owned();
        let got = sandbox.run(options.into_iter().chain(["get", &id]));
        assert_eq!(got, "kept");
    }
    let said = sandbox.fails(2, ["--poll", "sometimes", "info"]);
    assert!(said.contains("busy") && said.contains("adaptive"), "{said}");
    let said = sandbox.fails(2, ["--command-timeout", "soon", "info"]);
    assert!(said.contains("90s"), "{said}");
}

/// Goal: `init` says what a full store needs, and never overwrites unless forced.
#[test]
fn init_prints_memory_and_protects_what_is_there() {
    let sandbox = Sandbox::bare();
    let made = sandbox.json(["init", "--size", "1.5G"]);
    assert!(made["ram_full_bytes"].as_u64() > Some(0), "{made}");
    assert!(
        made["size"].as_u64().is_some_and(|size| size <= 3 << 29),
        "{made}"
    );
    sandbox.write("file", "kept");
    let id = sandbox.run(["put", "-q", "file"]);
    let message = sandbox.fails(2, ["init"]);
    assert!(message.contains("--force"), "{message}");
    sandbox.run(["exists", id.trim()]);
    sandbox.run(["init", "--force", "--size", "1G"]);
    sandbox.helios().args(["exists", id.trim()]).assert().code(3);

    sandbox.write("precious", pattern(10_000, 1));
    sandbox.fails(2, ["init", "precious", "--size", "1G"]);
    assert!(
        sandbox.read("precious") == pattern(10_000, 1),
        "init changed a file it refused"
    );
    sandbox.fails(2, ["init", "tiny", "--size", "4K"]);
}

/// Goal: `info` and `stats` have the documented fields, in text and in JSON.
#[test]
fn info_and_stats_have_their_fields() {
    let sandbox = Sandbox::new();
    sandbox.populate();
    sandbox.commit("first");
    let info = sandbox.json(["info"]);
    assert_eq!(info["health"], "ok", "{info}");
    assert_eq!(info["branches"], 1);
    for field in [
        "size",
        "used",
        "free",
        "segments",
        "extents",
        "index_bytes",
        "ram_full_bytes",
    ] {
        assert!(info[field].as_u64() > Some(0), "{field} in {info}");
    }
    let stats = sandbox.json(["stats"]);
    for field in ["hits", "misses", "evictions", "size", "items"] {
        assert!(stats["cache"][field].is_u64(), "{field} in {stats}");
    }
    for class in ["visible", "durable"] {
        for field in [
            "commits",
            "commit_latency_us_p50",
            "commit_latency_us_p95",
            "commit_latency_us_p99",
        ] {
            assert!(stats[class][field].is_number(), "{field} in {stats}");
        }
    }
    for field in [
        "new_objects",
        "new_bytes",
        "dedup_ratio",
        "io_reduction_percent",
        "index_bytes",
    ] {
        assert!(stats[field].is_number(), "{field} in {stats}");
    }
    assert!(stats["index_entries"].as_u64() > Some(0), "{stats}");
    assert!(sandbox.run(["info"]).contains("health"));
    assert!(sandbox.run(["stats"]).contains("dedup ratio"));
}

/// Goal: `check` passes on a sound store and names a flipped byte. Method: flip bytes of the stored content until
/// one is found, by looking for its plain bytes in the image.
#[test]
fn check_finds_a_flipped_byte() {
    let sandbox = Sandbox::bare();
    sandbox.run(["init", "--size", "64M"]);
    let content = pattern(200_000, 42);
    sandbox.write("file", &content);
    sandbox.commit("first");
    let checked = sandbox.json(["check", "--read-data"]);
    assert_eq!(checked["damage"], serde_json::json!([]));
    assert!(checked["bytes"].as_u64() >= Some(200_000), "{checked}");

    let image = fs::read(sandbox.store()).expect("the image");
    let needle = &content[100_000..100_064];
    let place = image
        .windows(64)
        .position(|window| window == needle)
        .expect("contents are stored as they are");
    use std::os::unix::fs::FileExt;
    let file = File::options()
        .write(true)
        .open(sandbox.store())
        .expect("the image");
    file.write_all_at(&[image[place] ^ 1], place as u64)
        .expect("one byte");
    drop(file);

    let output = sandbox
        .helios()
        .args(["check", "--read-data", "--json"])
        .assert()
        .code(7);
    let checked: serde_json::Value = serde_json::from_slice(&output.get_output().stdout).expect("JSON");
    assert!(!checked["damage"].as_array().expect("a list").is_empty());
    let message = sandbox.helios().args(["cat", "main:file"]).assert().code(7);
    let stderr = String::from_utf8_lossy(&message.get_output().stderr).into_owned();
    assert!(stderr.contains("damaged"), "{stderr}");
}

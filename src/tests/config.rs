//! The configuration file, from outside: where it is found, and what goes before it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use assert_cmd::Command;

use crate::owner::Owner;
use crate::sandbox::Sandbox;

/// The program, which looks for a file as it does for users.
fn helios(sandbox: &Sandbox) -> Command {
    let mut command = sandbox.helios();
    command.env_remove("HELIOS_CONFIG").env_remove("HELIOS_STORE");
    command
}

fn write(sandbox: &Sandbox, name: &str, text: &str) -> std::path::PathBuf {
    let path = sandbox.path(name);
    fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
    fs::write(&path, text).expect("a file");
    path
}

/// The store that a command uses: named in the error, because there is none there.
fn store_of(command: &mut Command) -> String {
    let output = command.args(["info", "--json"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).expect("one value");
    let message = error["error"]["message"].as_str().expect("a message");
    let name = message
        .split(['/', ' ', ':'])
        .find(|word| word.starts_with("of-"));
    name.unwrap_or_else(|| panic!("{message}")).to_owned()
}

/// Goal: a flag goes before a variable, a variable before the file; the file is the one named, else the user's own; and there may
/// be none. Method: each says another store, and each is taken away in turn.
#[test]
fn what_is_said_where_goes_before_what() {
    let sandbox = Sandbox::bare();
    let named = write(&sandbox, "named.toml", "store = 'of-named'\n");
    let flag = ["--store", "of-flag"];
    write(&sandbox, "home/.config/helios/config.toml", "store = 'of-home'\n");
    write(&sandbox, "xdg/helios/config.toml", "store = 'of-xdg'\n");
    let mut all = helios(&sandbox);
    all.env("HELIOS_CONFIG", &named)
        .env("HELIOS_STORE", "of-variable");
    assert_eq!(store_of(all.args(flag)), "of-flag");
    let mut variable = helios(&sandbox);
    variable
        .env("HELIOS_CONFIG", &named)
        .env("HELIOS_STORE", "of-variable");
    assert_eq!(store_of(&mut variable), "of-variable");
    let xdg = sandbox.path("xdg");
    let mut by_variable = helios(&sandbox);
    by_variable
        .env("HELIOS_CONFIG", &named)
        .env("XDG_CONFIG_HOME", &xdg);
    assert_eq!(store_of(&mut by_variable), "of-named");
    let other = write(&sandbox, "other.toml", "store = 'of-other'\n");
    let mut by_flag = helios(&sandbox);
    by_flag.env("HELIOS_CONFIG", &named).arg("--config").arg(&other);
    assert_eq!(store_of(&mut by_flag), "of-other");
    assert_eq!(store_of(helios(&sandbox).env("XDG_CONFIG_HOME", &xdg)), "of-xdg");
    assert_eq!(store_of(&mut helios(&sandbox)), "of-home");
    for none in [&["--no-config"][..], &["--config", ""]] {
        let made = helios(&sandbox)
            .args(["info", "--json"])
            .args(none)
            .output()
            .expect("it runs");
        assert!(
            made.status.success(),
            "{none:?}: the default store is made: {made:?}"
        );
    }
}

/// Goal: a file that is wrong, missing or unreadable is a mistake of usage that says where it is, also as JSON; help works all the
/// same.
#[test]
fn a_wrong_file_is_named() {
    let sandbox = Sandbox::bare();
    let path = write(
        &sandbox,
        "home/.config/helios/config.toml",
        "\n[serve]\nallow-uid = 'me'\n",
    );
    let refused = |arguments: &[&str]| {
        let output = helios(&sandbox).args(arguments).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).expect("text")
    };
    let message = refused(&["info"]);
    assert!(message.starts_with("helios: configuration file "), "{message}");
    for words in [
        &*path.display().to_string(),
        "line 3",
        "`allow-uid`",
        "a list",
        "hint: ",
    ] {
        assert!(message.contains(words), "{words}: {message}");
    }
    let error: serde_json::Value = serde_json::from_str(&refused(&["info", "--json"])).expect("one value");
    assert_eq!(error["error"]["class"], "invalid");
    assert!(refused(&["info", "--config", "nowhere.toml"]).contains("nowhere.toml"));
    assert!(refused(&["info", "--config", "."]).contains("--no-config"));
    helios(&sandbox).args(["serve", "--help"]).assert().success();
    fs::write(&path, [b's', 0xff]).expect("a file");
    assert!(refused(&["info"]).contains("UTF-8"));
    fs::write(&path, vec![b'#'; 2 << 20]).expect("a file");
    assert!(refused(&["info"]).contains("longer"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("a mode");
    fs::remove_file(&path).expect("it was there");
    helios(&sandbox).args(["info"]).assert().success();
}

/// Goal: a server is set up by its file alone, and its commands find it through the same file. Method: a store, a control socket
/// and metrics in the file.
#[test]
fn a_server_is_set_up_by_its_file() {
    let sandbox = Sandbox::new();
    let control = sandbox.path("control");
    let text = format!(
        "store = {:?}\nreactors = 2\n[serve]\ncontrol = \"unix:{}\"\nmetrics = \"tcp:127.0.0.1:0\"\nallow-uid = [4711]\n",
        sandbox.store(),
        control.display()
    );
    let path = write(&sandbox, "helios.toml", &text);
    let mut command = sandbox.process(assert_cmd::cargo::cargo_bin!("helios"));
    command
        .env_remove("HELIOS_STORE")
        .env("HELIOS_CONFIG", &path)
        .args(["serve", "--json"]);
    let owner = Owner::of(command);
    assert_eq!(owner.socket, control);
    assert!(
        owner.ready["metrics"]
            .as_str()
            .is_some_and(|address| address.starts_with("tcp:"))
    );
    let metrics = owner.metrics();
    assert_eq!(metrics.series("helios_reactor_turns_total").count(), 2);
    let mode = fs::metadata(&control).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o666, "others may come in");
    helios(&sandbox)
        .env("HELIOS_CONFIG", &path)
        .arg("branch")
        .assert()
        .success();
    assert_eq!(
        owner.metrics().sum("helios_calls_total", &[("call", "branch")]),
        Some(1.0)
    );
    owner.end();
}

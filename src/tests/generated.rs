//! Help, man pages and completions: generated from one definition.

use std::fs;

use crate::sandbox::Sandbox;

const COMMANDS: [&str; 32] = [
    "init",
    "info",
    "stats",
    "check",
    "gc",
    "scrub",
    "put",
    "get",
    "exists",
    "pin",
    "unpin",
    "commit",
    "status",
    "branch",
    "tag",
    "why",
    "du",
    "quota",
    "forget",
    "log",
    "ls",
    "cat",
    "diff",
    "merge",
    "restore",
    "materialize",
    "serve",
    "top",
    "benchmark",
    "device",
    "completions",
    "man",
];

/// Commands of `device`.
const DEVICE_COMMANDS: [&str; 5] = ["list", "bind", "unbind", "hugepages", "check"];

/// Goal: every command explains itself with examples; exit codes are in the help.
#[test]
fn help_has_examples_and_exit_codes() {
    let sandbox = Sandbox::bare();
    let help = sandbox.run(["--help"]);
    for code in [
        "  0 ", "  1 ", "  2 ", "  3 ", "  4 ", "  5 ", "  6 ", "  7 ", "  8 ", "  9 ", "  10 ", "  12 ",
        "  130 ",
    ] {
        assert!(help.contains(code), "exit code {code} is not listed");
    }
    for command in COMMANDS {
        assert!(help.contains(&format!("  {command} ")), "{command} is not listed");
        let help = sandbox.run(["help", command]);
        assert!(help.contains("Examples:"), "{command} shows no example");
    }
    for command in DEVICE_COMMANDS {
        let help = sandbox.run(["help", "device", command]);
        assert!(help.contains("Examples:"), "device {command} shows no example");
    }
    let version = sandbox.run(["--version"]);
    assert!(
        version.starts_with(&format!("helios {}", env!("CARGO_PKG_VERSION"))),
        "{version}"
    );
}

/// Goal: there is a man page for the program and each command.
#[test]
fn man_pages_for_all() {
    let sandbox = Sandbox::bare();
    sandbox.run(["man", "pages"]);
    for command in COMMANDS {
        let page =
            fs::read_to_string(sandbox.work().join(format!("pages/helios-{command}.1"))).expect("a page");
        assert!(page.contains(".TH"), "{command}");
    }
    for command in DEVICE_COMMANDS {
        let page = sandbox.work().join(format!("pages/helios-device-{command}.1"));
        assert!(page.exists(), "device {command} has no page");
    }
    assert!(
        fs::read_to_string(sandbox.work().join("pages/helios.1"))
            .expect("a page")
            .contains("Exit codes")
    );
}

/// Goal: completion scripts for the three shells, accepted by bash where it is installed.
#[test]
fn completions_for_three_shells() {
    let sandbox = Sandbox::bare();
    for shell in ["bash", "zsh", "fish"] {
        let script = sandbox.run(["completions", shell]);
        assert!(
            script.contains("materialize") && script.contains("hugepages"),
            "{shell}"
        );
        if shell == "bash" {
            sandbox.write("script", &script);
            let checked = std::process::Command::new("bash")
                .arg("-n")
                .arg(sandbox.work().join("script"))
                .status();
            assert!(
                checked.is_ok_and(|status| status.success()),
                "bash refuses its completions"
            );
        }
    }
    sandbox.fails(2, ["completions", "no-such-shell"]);
}

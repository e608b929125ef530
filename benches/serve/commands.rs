//! A command that attaches: what the owner's help costs it, beside the start of a process.

use std::process::{Command, Stdio};

use crate::owner::{self, HELIOS};
use crate::report;
use crate::sandbox::{Sandbox, time};

const ROUNDS: usize = 100;

/// Runs the section.
pub fn run() {
    report::heading(
        "commands: what does it cost a command to find the owner and ask it?",
        "the start of the program alone (`--version`)",
        "below 3 ms more",
    );
    let sandbox = Sandbox::new();
    let store = sandbox.path("served");
    let _owner = owner::of_new_store(&store, "1G");
    let alone = sandbox.path("alone");
    let made = Command::new(HELIOS)
        .args(["init", "-q", "--size", "1G", "--store"])
        .arg(&alone)
        .status();
    assert!(made.expect("the program runs").success());
    let run = |arguments: &[&str], store: &std::path::Path| {
        let mut command = Command::new(HELIOS);
        command
            .args(arguments)
            .arg("--store")
            .arg(store)
            .stdout(Stdio::null());
        let (ns, status) = time(|| command.status());
        assert!(status.expect("the program runs").success());
        ns
    };
    let mut rows = [(); 3].map(|()| report::histogram());
    for _ in 0..ROUNDS {
        rows[0].record(run(&["--version"], &store)).expect("a time");
        rows[1].record(run(&["info"], &store)).expect("a time");
        rows[2]
            .record(run(&["info", "--no-attach"], &alone))
            .expect("a time");
    }
    let [start, attached, opened] = &rows;
    report::row("the program alone", start);
    report::row("info, by the owner", attached);
    report::row("info, the store opened by the command", opened);
    let more = attached.value_at_quantile(0.5) as f64 - start.value_at_quantile(0.5) as f64;
    println!("  attaching costs, median: {:.2} ms", more / 1e6);
}

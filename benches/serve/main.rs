//! What the server costs its clients, and what it bears.
//!
//! `cargo bench --bench serve [-- NAME...]`; with no name all sections run. The server is a process of its own, as in use.
//! `HELIOS_BENCH_CLIENTS` (850) and `HELIOS_BENCH_SECONDS` (60) change the section `agents`; an hour of it is the long run.

mod agents;
mod commands;
mod echo;
mod latency;
mod owner;

#[path = "../../src/tests/owner.rs"]
#[allow(dead_code, unused_imports, reason = "shared with the tests")]
mod server;

#[path = "../common/report.rs"]
#[allow(dead_code, reason = "shared with another bench")]
mod report;
#[path = "../common/sandbox.rs"]
#[allow(dead_code, unused_imports, reason = "shared with another bench")]
mod sandbox;

fn main() {
    report::machine();
    let sections: [(&str, fn()); 3] = [
        ("latency", latency::run),
        ("commands", commands::run),
        ("agents", agents::run),
    ];
    for (name, run) in sections {
        if report::is_wanted(name) {
            run();
        }
    }
}

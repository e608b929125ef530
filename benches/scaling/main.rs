//! How the engine grows: with reactors, with commands in flight, with threads that find everything in memory, and with extents.
//!
//! `cargo bench --bench scaling [-- NAME...]`; with no name all sections run. What the figures say of larger machines is in
//! [README.md](README.md). Compare ratios inside one run.

mod extents;
mod load;
mod reactors;

#[path = "../common/extents.rs"]
mod many;
#[path = "../common/report.rs"]
#[allow(dead_code, reason = "shared with another bench")]
mod report;
#[path = "../common/sandbox.rs"]
#[allow(dead_code, reason = "shared with another bench")]
mod sandbox;

fn main() {
    report::machine();
    let sections: [(&str, fn()); 4] = [
        ("reactors", reactors::run),
        ("depth", reactors::depth),
        ("memory", reactors::memory),
        ("extents", extents::run),
    ];
    for (name, run) in sections {
        if report::is_wanted(name) {
            run();
        }
    }
}

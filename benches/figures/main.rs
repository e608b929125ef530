//! The figures Helios promises, each beside its ceiling, measured in one run, interleaved, as percentiles.
//!
//! `cargo bench --bench figures [-- NAME...]`; with no name all sections run. Every section says its question, its
//! ceiling and what was predicted. Times are of this machine and this minute: compare the ratios.

mod chunking;
mod cleaning;
mod collection;
mod commits;
mod directory;
mod durable;
mod puts;
mod recovery;

#[path = "../common/extents.rs"]
mod extents;
#[path = "../common/raw.rs"]
mod raw;
#[path = "../common/report.rs"]
#[allow(dead_code, reason = "shared with another bench")]
mod report;
#[path = "../common/sandbox.rs"]
#[allow(dead_code, reason = "shared with another bench")]
mod sandbox;
#[path = "../common/steps.rs"]
mod steps;
#[path = "../common/walk.rs"]
mod walk;

fn main() {
    report::machine();
    let sections: [(&str, fn()); 8] = [
        ("commits", commits::run),
        ("durable", durable::run),
        ("puts", puts::run),
        ("chunking", chunking::run),
        ("directory", directory::run),
        ("recovery", recovery::run),
        ("collection", collection::run),
        ("cleaning", cleaning::run),
    ];
    for (name, run) in sections {
        if report::is_wanted(name) {
            run();
        }
    }
}

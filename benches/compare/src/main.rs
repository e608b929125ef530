//! Compares Helios with what would be used instead, and with the limits of the hardware; `scripts/compare` installs what it
//! needs and runs it. README.md says what each workload does, what is fair and what is not.

mod goals;
mod lab;
mod measure;
mod options;
mod peers;
mod report;
mod workloads;

#[path = "../../common/fio.rs"]
mod fio;
#[path = "../../common/raw.rs"]
mod raw;
#[path = "../../common/report.rs"]
#[allow(dead_code, reason = "shared with other benches")]
mod report_lines;
#[path = "../../common/sandbox.rs"]
#[allow(dead_code, reason = "shared with other benches")]
mod sandbox;
#[path = "../../common/steps.rs"]
mod steps;
#[path = "../../common/walk.rs"]
mod walk;

use std::process::ExitCode;

use clap::Parser;

use lab::Lab;
use measure::machine::{self, Machine};
use options::Options;
use report::Report;
use workloads::{ALL, Workload};

/// The allocator of the `helios` program. Everybody of Rust in this process has it; SQLite and libgit2 keep the C library's.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        for workload in &ALL {
            println!("{:<12} {}", workload.name, workload.question);
        }
        return ExitCode::SUCCESS;
    }
    match wanted(&options).and_then(|wanted| run(&options, &wanted)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("scripts/compare: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// The workloads that the command line names; all, if it names none.
fn wanted(options: &Options) -> measure::Outcome<Vec<&'static Workload>> {
    for name in &options.workload {
        if !ALL.iter().any(|workload| workload.name == name) {
            return Err(format!("there is no workload {name}; --list shows them").into());
        }
    }
    let named = |workload: &&Workload| options.workload.iter().any(|name| name == workload.name);
    Ok(ALL
        .iter()
        .filter(|workload| options.workload.is_empty() || named(workload))
        .collect())
}

fn run(options: &Options, wanted: &[&Workload]) -> measure::Outcome {
    // What panics is a row; the story of each would only hide the table.
    std::panic::set_hook(Box::new(|_| {}));
    let lab = Lab::new(options);
    std::fs::create_dir_all(lab.home())?;
    let mut machine = Machine::look(&lab.sandbox.path(""), &options.built, versions(&lab));
    println!("{}", report::table::heading(&machine, &lab.scale));
    let mut rows = Vec::new();
    for workload in wanted {
        println!("\n{}: {}", workload.name, workload.question);
        let mut found = (workload.run)(&lab).map_err(|problem| format!("{}: {problem}", workload.name))?;
        report::compare::fill_in(&mut found);
        print!("{}", report::table::rows(&found));
        rows.extend(found);
    }
    let goals: Vec<_> = wanted
        .iter()
        .flat_map(|workload| workload.goals.iter().copied())
        .collect();
    machine.load_at_end = machine::load();
    let report = Report {
        version: report::VERSION,
        quick: lab.scale.quick,
        seed: lab.scale.seed,
        repetitions: lab.scale.repetitions,
        goals: goals::judge(&goals, &rows),
        machine,
        rows,
    };
    print!("{}", report::table::goals(&report));
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)?)?;
    }
    if let Some(path) = &options.html {
        std::fs::write(path, report::html::page(&report)?)?;
    }
    Ok(())
}

/// Names and versions of everybody, those that are built in included.
fn versions(lab: &Lab) -> Vec<(String, String)> {
    let mut versions = machine::program_versions(lab.helios_path());
    let agentfs = peers::agentfs::version(lab.cache.as_deref());
    versions.extend([
        (
            "agentfs-sdk".to_owned(),
            agentfs.unwrap_or_else(|| "not installed".to_owned()),
        ),
        (
            "rocksdb".to_owned(),
            peers::rocksdb::version().unwrap_or_else(|| "not installed".to_owned()),
        ),
        ("sqlite".to_owned(), rusqlite::version().to_owned()),
        ("redb".to_owned(), locked("redb")),
        ("libgit2".to_owned(), git_version()),
    ]);
    versions
}

fn git_version() -> String {
    let (major, minor, patch) = git2::Version::get().libgit2_version();
    format!("{major}.{minor}.{patch}")
}

/// The version of a crate that this program was built with.
fn locked(name: &str) -> String {
    let wanted = format!("name = \"{name}\"");
    let mut lines = include_str!("../Cargo.lock")
        .lines()
        .skip_while(|line| *line != wanted);
    let version = lines.nth(1).and_then(|line| line.split('"').nth(1));
    version.unwrap_or("unknown").to_owned()
}

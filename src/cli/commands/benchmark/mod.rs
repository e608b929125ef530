//! `benchmark`: measures this machine with the engine, and against goals.
//!
//! Owns the list of what is measured and its order. It goes around [`Request`](helios_engine::ops::Request)s, because it is no
//! work on a store of the user's: everything happens in a directory of its own ([`place`]), which goes with the command, however
//! that ends. A row that cannot be measured is not met, and says why; only ctrl-C ends it early.

mod clients;
mod commits;
mod fork;
mod gets;
mod hashing;
mod io_counter;
mod place;
mod programs;
mod progress;
mod report;
mod run;

use std::time::Duration;

use clap::CommandFactory;
use helios_engine::ops::{Class, Failure};

use crate::cli::args::{BenchmarkArgs, Cli};
use crate::cli::exit::Exit;
use crate::cli::interrupt;
use crate::cli::session::{Session, Stop};
use crate::workloads::machine::Machine;
use place::Place;
use report::{Goal, Report, Row};
use run::Run;

/// Time that removing what was written may take after a signal.
const GRACE: Duration = Duration::from_secs(60);

/// Some goals, what measures them, and the part of the whole time that takes.
struct Group {
    goals: &'static [Goal],
    measure: fn(&Run) -> Result<Vec<Row>, Failure>,
    part: f64,
}

const GROUPS: [Group; 5] = [
    Group {
        goals: &commits::GOALS,
        measure: commits::measure,
        part: 0.1,
    },
    Group {
        goals: &fork::GOALS,
        measure: fork::measure,
        part: 0.5,
    },
    Group {
        goals: &gets::GOALS,
        measure: gets::measure,
        part: 0.1,
    },
    Group {
        goals: &clients::GOALS,
        measure: clients::measure,
        part: 0.25,
    },
    Group {
        goals: &hashing::GOALS,
        measure: hashing::measure,
        part: 0.05,
    },
];

pub fn benchmark(session: &mut Session, args: &BenchmarkArgs) -> Result<Exit, Stop> {
    if args.phase0_validation {
        validate(session, args)
    } else {
        help(session)
    }
}

fn help(session: &mut Session) -> Result<Exit, Stop> {
    let mut program = Cli::command();
    program.build();
    if let Some(command) = program.find_subcommand_mut("benchmark") {
        session
            .output
            .bytes(command.render_long_help().to_string().as_bytes())?;
    }
    Ok(Exit::Success)
}

fn validate(session: &mut Session, args: &BenchmarkArgs) -> Result<Exit, Stop> {
    interrupt::wait_for_clean_end(GRACE);
    let directory = args.dir.clone().unwrap_or_else(|| ".".into());
    let place = Place::make(&directory, args.quick)?;
    let run = Run::new(place.path(), args.quick, session);
    let machine = Machine::around(place.path());
    let began = run.clock.now();
    let mut rows = Vec::new();
    for group in &GROUPS {
        run.progress.begin(group.goals[0].name, group.part);
        match (group.measure)(&run) {
            Ok(measured) => rows.extend(measured),
            Err(failure) if failure.class == Class::Cancelled => return Err(failure.into()),
            Err(failure) => rows.extend(group.goals.iter().map(|goal| goal.unmeasured(&failure))),
        }
    }
    run.progress.end();
    let report = Report::new(machine, &run, run.clock.now().since(began), rows);
    // Before the verdict: whoever reads it may look at what is left.
    drop(place);
    report.print(&mut session.output)?;
    Ok(report.exit())
}

//! An agent's step: some files of a tree of 2,000 in 40 directories are written, then committed.
//!
//! Everybody writes the same files. Who has a directory (git) writes them there, the others in memory or into their
//! transaction. Visible steps are paced at half the rate at which Helios makes them durable, so that nobody's queue grows
//! without end; the pause is not in the figures.

use std::hint::black_box;
use std::time::Duration;

use crate::goals::{Goal, Target};
use crate::lab::Lab;
use crate::measure::contest::{Contest, Turn, Who};
use crate::measure::figures::{Quantity, Round};
use crate::measure::{Class, Outcome};
use crate::peers::agentfs::{self, Agent};
use crate::peers::git::{self, Repository};
use crate::peers::in_process_git::InProcess;
use crate::peers::{Stepper, helios, redb, sqlite};
use crate::raw::{Raw, UNIT};
use crate::report::row::Row;
use crate::sandbox::{content, pause, time};
use crate::steps::edits;
use ::helios::workloads::steps::{BYTES, DIRECTORIES, FILES, path};
use helios_engine::hash::{content_id, content_ids};

use super::Workload;

const NAME: &str = "steps";
const STEP: Quantity = Quantity::time("step");
const ONE: &str = "1 edit";
const FIFTY: &str = "50 edits";

/// Steps of a round at most, and how long a round may take.
const STEPS_MAX: (u32, u32) = (300, 10);
const ROUND: (Duration, Duration) = (Duration::from_millis(1500), Duration::from_millis(100));

/// See the module.
pub const WORKLOAD: Workload = Workload {
    name: NAME,
    question: "how long is an agent's step: files written, and a commit?",
    goals: &[
        goal(FIFTY, Class::Visible, Target::P95Below(70_000.0)),
        goal(FIFTY, Class::Visible, Target::TimesBetter("git", 200.0)),
        goal(ONE, Class::Visible, Target::P95Below(15_000.0)),
        goal(ONE, Class::Durable, Target::OfCeiling(RAW, 1.0 / 1.5)),
        goal(ONE, Class::Durable, Target::TimesBetter("sqlite", 3.0)),
        goal(ONE, Class::Durable, Target::TimesBetter("git", 50.0)),
    ],
    run,
};

const RAW: &str = "raw durable write";

const fn goal(case: &'static str, class: Class, target: Target) -> Goal {
    Goal {
        workload: NAME,
        case,
        class,
        quantity: STEP.name,
        target,
    }
}

fn run(lab: &Lab) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for (case, count) in [(ONE, 1), (FIFTY, 50)] {
        for class in [Class::Visible, Class::Durable] {
            rows.extend(contest(lab, case, count, class)?);
        }
    }
    Ok(rows)
}

/// All files of the tree.
fn files() -> impl Iterator<Item = (String, Vec<u8>)> {
    (0..DIRECTORIES * FILES).map(|number| (path(number), content(number, BYTES)))
}

fn contest(lab: &Lab, case: &str, count: u64, class: Class) -> Outcome<Vec<Row>> {
    let top = lab.fresh("steps")?;
    let mut subject = helios::Steps::new(&lab.sandbox, "steps.helios", class)?;
    let (rest, frame) = paces(&mut subject, count, lab.scale.pick(100, 5));
    let rest = if class == Class::Visible {
        rest
    } else {
        Duration::ZERO
    };
    let pacing = Pacing {
        count,
        rest,
        steps_max: lab.scale.pick(STEPS_MAX.0, STEPS_MAX.1),
        round: lab.scale.pick(ROUND.0, ROUND.1),
        seed: lab.scale.seed << 32,
    };
    let mut contest = Contest::new(NAME, case);
    let paced = match class {
        Class::Visible => format!("paced, {} us rest", rest.as_micros()),
        _ => String::new(),
    };
    lab.enter(&mut contest, Who::helios(class, paced).pinned(), None, || {
        Ok(pacing.turn(subject))
    });
    let who = Who::peer(
        "git",
        class,
        format!("working tree and commit -a; {}", git::settings(class)),
    );
    lab.enter(&mut contest, who, Some("git"), || {
        let repository = Repository::new(&top.join("git"), &lab.home(), Class::Visible)?;
        repository.write(files())?;
        repository.commit_all("first")?;
        repository.promise(class)?;
        Ok(pacing.turn(repository))
    });
    let who = Who::peer("libgit2", class, "in process, no working tree").pinned();
    lab.enter(&mut contest, who, None, || {
        Ok(pacing.turn(InProcess::new(&top.join("libgit2"), class, files())?))
    });
    let who = Who::peer("sqlite", class, sqlite::settings(class)).pinned();
    lab.enter(&mut contest, who, None, || {
        Ok(pacing.turn(sqlite::Steps::new(&top.join("sqlite"), class, files())?))
    });
    let who = Who::peer("redb", class, redb::settings(class)).pinned();
    lab.enter(&mut contest, who, None, || {
        Ok(pacing.turn(redb::Steps::new(&top.join("redb"), class, files())?))
    });
    // Its SDK has one class.
    if class == agentfs::CLASS {
        let who = Who::peer("agentfs", class, agentfs::NOTE);
        match agentfs::find(lab.cache.as_deref()) {
            Ok(python) => lab.enter(&mut contest, who, None, || {
                let mut agent = Agent::start(&python, &top.join("agentfs.db"), &lab.home())?;
                agent.step(&files().collect::<Vec<_>>())?;
                Ok(pacing.turn(agent))
            }),
            Err(why) => contest.skip(who, why),
        }
    }
    match class {
        Class::Durable => {
            let units = frame.div_ceil(UNIT as u64).max(1) as usize;
            let note = format!("RWF_DSYNC, {} KiB, what Helios writes", units * UNIT / 1024);
            let raw = Raw::new(&top.join("raw"), units, 1000);
            let mut number = 0;
            let steps = pacing.steps_max;
            contest.enter(Who::ceiling(RAW, class, note).pinned(), || {
                Ok(Box::new(move |round: &mut Round| {
                    for _ in 0..steps {
                        number += 1;
                        round.record(STEP, raw.write(number));
                    }
                    Ok(())
                }))
            });
        }
        _ => contest.enter(
            Who::ceiling("copies and hashes", class, "no tree, no index, no log").pinned(),
            || {
                Ok(pacing.turn(CopiesAndHashes::new(
                    usize::try_from(frame)?,
                    usize::try_from(count)?,
                )))
            },
        ),
    }
    let rows = lab.run(contest);
    lab.fresh("steps")?;
    crate::measure::disk::remove(&lab.sandbox.path("steps.helios"))?;
    Ok(rows)
}

/// Twice the time of a durable step, and the bytes that one writes.
fn paces(subject: &mut helios::Steps, count: u64, steps: u64) -> (Duration, u64) {
    let mut times = crate::report_lines::histogram();
    let mut seed = 0;
    let before = subject.frame_bytes();
    for _ in 0..steps {
        let edits = edits(count, &mut seed);
        times.record(subject.time(&edits, true)).expect("histograms grow");
    }
    let rest = Duration::from_nanos(times.value_at_quantile(0.5) * 2);
    (rest, (subject.frame_bytes() - before) / steps)
}

/// How steps follow each other.
#[derive(Clone, Copy)]
struct Pacing {
    count: u64,
    rest: Duration,
    steps_max: u32,
    round: Duration,
    seed: u64,
}

impl Pacing {
    fn turn<'a>(self, mut subject: impl Stepper + 'a) -> Turn<'a> {
        let mut seed = self.seed;
        Box::new(move |round| {
            let mut spent = Duration::ZERO;
            for _ in 0..self.steps_max {
                let edits = edits(self.count, &mut seed);
                let (ns, done) = time(|| subject.step(&edits));
                done?;
                round.record(STEP, ns);
                spent += Duration::from_nanos(ns);
                if spent > self.round {
                    break;
                }
                pause(self.rest);
            }
            Ok(())
        })
    }
}

/// The ceiling of visible steps: what is left of one for whoever takes contents over, names them and the nodes above them by
/// their hashes, and lays them out for one write. There is no tree to change, no index and no log.
struct CopiesAndHashes {
    /// As long as a frame of Helios: the nodes, then the contents.
    frame: Vec<u8>,
    /// Bytes of the nodes, and of one of them; the last is the root's.
    nodes: usize,
    node: usize,
}

impl CopiesAndHashes {
    fn new(frame: usize, count: usize) -> CopiesAndHashes {
        let nodes = frame.saturating_sub(count * BYTES);
        // Of every directory that is met, and of the root.
        let missed = (1.0 - 1.0 / DIRECTORIES as f64).powf(count as f64);
        let met = (DIRECTORIES as f64 * (1.0 - missed)).round() as usize; // at most `DIRECTORIES`
        CopiesAndHashes {
            frame: vec![0; frame.max(count * BYTES)],
            nodes,
            node: (nodes / (met + 1)).max(1),
        }
    }
}

impl Stepper for CopiesAndHashes {
    fn step(&mut self, edits: &[(String, Vec<u8>)]) -> Outcome {
        let taken: Vec<Vec<u8>> = edits.iter().map(|(_, bytes)| bytes.clone()).collect();
        let contents: Vec<&[u8]> = taken.iter().map(Vec::as_slice).collect();
        let (nodes, places) = self.frame.split_at_mut(self.nodes);
        // Nodes hold the names of what is below them, so each level waits for the one before.
        black_box(content_ids(&contents));
        let mut nodes = nodes.chunks_exact(self.node);
        let root = nodes.next_back().unwrap_or_default();
        black_box(content_ids(&nodes.collect::<Vec<_>>()));
        black_box(content_id(root));
        for (place, bytes) in places.chunks_exact_mut(BYTES).zip(&contents) {
            place.copy_from_slice(bytes);
        }
        black_box(&self.frame);
        Ok(())
    }
}

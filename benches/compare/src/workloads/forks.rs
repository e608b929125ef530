//! Forks of a tree of 28,000 files, each with ten edits and a commit, then all of them deleted.
//!
//! What takes long is done fewer times and given per fork: the note of a row says how often. Everybody's base is the same
//! tree. A fork of Helios is a branch and a working tree in memory, in which files are read and written; one of the others
//! is a directory. "Written" is what was given to the kernel for devices, and what the device took from before the first fork
//! to the end of a `sync` after the last, whoever wrote it: on a busy machine the latter is more than the subject's.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::goals::{Goal, Target};
use crate::lab::Lab;
use crate::measure::contest::{Contest, Turn, Who};
use crate::measure::counters::{Device, written_by_us};
use crate::measure::figures::{Quantity, Round};
use crate::measure::{Class, Outcome, caches, disk};
use crate::peers::agentfs::{self, Agent};
use crate::peers::copies::{Way, replace};
use crate::peers::git::{self, Repository, write_files};
use crate::peers::{Stepper, btrfs, helios};
use crate::report::row::Row;
use crate::sandbox::{content, time};

use super::Workload;

const NAME: &str = "forks";
const CASE: &str = "fork of 28,000 files, 10 edits, commit";
const EDITS: u64 = 10;
const FORK: Quantity = Quantity::time("fork");
const WORK: Quantity = Quantity::time("edits and commit");
const GIVEN: Quantity = Quantity::bytes("bytes written, per fork");
const TAKEN: Quantity = Quantity::bytes("bytes the device took, per fork");
const SPACE: Quantity = Quantity::bytes("bytes of space, per fork");
const DELETE: Quantity = Quantity::time("delete, per fork");
const DELETE_ALL: Quantity = Quantity::time("delete all 850, scaled");
/// Forks that the project's goals speak of.
const ALL: u64 = 850;
/// Of the sparse file that has the file system of btrfs.
const VOLUME_BYTES: u64 = 4 << 30;

/// See the module.
pub const WORKLOAD: Workload = Workload {
    name: NAME,
    question: "what does it cost to give many agents a tree of their own?",
    goals: &[
        goal(Class::Visible, FORK, Target::P95Below(2000.0)),
        goal(Class::Visible, GIVEN, Target::TimesBetter("git worktree", 100.0)),
        goal(Class::Visible, DELETE_ALL, Target::MedianBelow(100e6)),
    ],
    run,
};

const fn goal(class: Class, quantity: Quantity, target: Target) -> Goal {
    Goal {
        workload: NAME,
        case: CASE,
        class,
        quantity: quantity.name,
        target,
    }
}

/// Somebody who can fork a tree.
pub trait Forker: Send {
    /// Forks of these numbers are made next: whoever keeps them makes the place for them, and their names.
    fn begin(&mut self, _: Range<u64>) {}
    /// Makes fork `number`.
    fn fork(&mut self, number: u64) -> Outcome;
    /// Writes files in it and commits.
    fn work(&mut self, number: u64, edits: &[(String, Vec<u8>)]) -> Outcome;
    /// Deletes all forks.
    fn delete(&mut self) -> Outcome;
    /// Bytes that everything takes on the disk.
    fn space(&self) -> Outcome<u64>;
}

/// Files of the tree.
fn files(lab: &Lab) -> u64 {
    lab.scale.pick(28_000, 400)
}

fn path(number: u64) -> String {
    format!("directory-{:03}/file-{number:05}", number / 50)
}

/// The tree.
fn tree(lab: &Lab) -> impl Iterator<Item = (String, Vec<u8>)> {
    (0..files(lab)).map(|number| {
        (
            path(number),
            content(number, 300 + (number * 977 % 3000) as usize),
        )
    })
}

/// The edits of a fork.
fn edits(lab: &Lab, number: u64) -> Vec<(String, Vec<u8>)> {
    let edit = |edit: u64| {
        let at = (number * 331 + edit * 2801) % files(lab);
        (
            path(at),
            content(number * EDITS + edit + (lab.scale.seed << 40) + (1 << 32), 2000),
        )
    };
    (0..EDITS).map(edit).collect()
}

fn run(lab: &Lab) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for class in [Class::Visible, Class::Durable] {
        rows.extend(contest(lab, class)?);
    }
    Ok(rows)
}

fn contest(lab: &Lab, class: Class) -> Outcome<Vec<Row>> {
    let top = lab.fresh(NAME)?;
    let base = top.join("base");
    write_files(&base, tree(lab))?;
    let few = lab.scale.pick(4, 2);
    let all = lab.scale.pick(ALL, 20);
    let mut contest = Contest::new(NAME, CASE);
    let who = Who::helios(
        class,
        format!("{all} forks; branches and working trees in memory"),
    )
    .pinned();
    lab.enter(&mut contest, who, None, || {
        let forks = helios::Forks::new(&lab.sandbox.path("forks.helios"), class, tree(lab))?;
        turn(lab, &top, forks, all)
    });
    let who = Who::peer(
        "git worktree",
        class,
        format!("{few} forks; {}", git::settings(class)),
    );
    lab.enter(&mut contest, who, Some("git"), || {
        let repository = Repository::new(&top.join("git"), &lab.home(), Class::Visible)?;
        repository.write(tree(lab))?;
        repository.commit_all("first")?;
        repository.promise(class)?;
        turn(
            lab,
            &top,
            Worktrees(repository, top.join("worktrees"), Vec::new()),
            few,
        )
    });
    let sync = match class {
        Class::Durable => "; then syncfs",
        _ => "",
    };
    for way in [Way::Whole, Way::Links] {
        let who = Who::peer(
            way.name(),
            class,
            format!("{few} forks; edited files are replaced, no commit{sync}"),
        );
        lab.enter(&mut contest, who, Some("cp"), || {
            let copies = Copies {
                way,
                base: base.clone(),
                top: lab.fresh(&format!("{NAME}/copies-{}", way.name().replace(' ', "-")))?,
                home: lab.home(),
                class,
            };
            turn(lab, &top, copies, few)
        });
    }
    let who = Who::peer(
        "btrfs snapshot",
        class,
        format!("{few} forks; {}{sync}", btrfs::NOTE),
    );
    match btrfs::available() {
        Ok(()) => lab.enter(&mut contest, who, None, || {
            let volume = btrfs::Volume::new(&top.join("btrfs"), &lab.home(), VOLUME_BYTES)?;
            turn(lab, &top, btrfs::Snapshots::new(volume, class, tree(lab))?, few)
        }),
        Err(why) => contest.skip(who, why),
    }
    if class == agentfs::CLASS {
        let who = Who::peer(
            "agentfs",
            class,
            format!("{few} forks; copies of the database; no commit"),
        );
        match agentfs::find(lab.cache.as_deref()) {
            Ok(python) => lab.enter(&mut contest, who, None, || {
                let directory = lab.fresh(&format!("{NAME}/agentfs"))?;
                let base = directory.join("base.db");
                let mut agent = Agent::start(&python, &base, &lab.home())?;
                agent.fill(&tree(lab).collect::<Vec<_>>())?;
                agent.close()?;
                turn(
                    lab,
                    &top,
                    Databases {
                        agent,
                        base,
                        directory,
                    },
                    few,
                )
            }),
            Err(why) => contest.skip(who, why),
        }
    }
    let rows = lab.run(contest);
    lab.fresh(NAME)?;
    disk::remove(&lab.sandbox.path("forks.helios"))?;
    Ok(rows)
}

/// A round: so many forks with their work, what they have cost, and their end.
fn turn<'a>(lab: &'a Lab, top: &Path, mut subject: impl Forker + 'a, count: u64) -> Outcome<Turn<'a>> {
    let device = Device::below(top).ok();
    let mut first = 0;
    Ok(Box::new(move |round: &mut Round| {
        rustix::fs::sync();
        let space = subject.space()?;
        let given = written_by_us()?;
        let taken = device.as_ref().map(Device::written).transpose()?;
        subject.begin(first..first + count);
        for number in first..first + count {
            let (ns, done) = time(|| subject.fork(number));
            done?;
            round.record(FORK, ns);
            let edits = edits(lab, number);
            let (ns, done) = time(|| subject.work(number, &edits));
            done?;
            round.record(WORK, ns);
        }
        first += count;
        rustix::fs::sync();
        round.record(GIVEN, (written_by_us()? - given) / count);
        if let (Some(device), Some(before)) = (&device, taken) {
            round.record(TAKEN, (device.written()? - before) / count);
        }
        round.record(SPACE, subject.space()?.saturating_sub(space) / count);
        let (ns, done) = time(|| subject.delete());
        done?;
        round.record(DELETE, ns / count);
        round.record(DELETE_ALL, ns * ALL / count);
        Ok(())
    }))
}

/// A repository, where its working trees lie, and their names.
struct Worktrees(Repository, PathBuf, Vec<u64>);

impl Worktrees {
    fn at(&self, number: u64) -> PathBuf {
        self.1.join(format!("agent-{number}"))
    }
}

impl Forker for Worktrees {
    fn fork(&mut self, number: u64) -> Outcome {
        let at = self.at(number).to_string_lossy().into_owned();
        let branch = format!("agent-{number}");
        self.0.run(&["worktree", "add", "-q", "-b", &branch, &at])?;
        self.2.push(number);
        Ok(())
    }

    fn work(&mut self, number: u64, edits: &[(String, Vec<u8>)]) -> Outcome {
        let at = self.at(number);
        for (path, bytes) in edits {
            fs::write(at.join(path), bytes)?;
        }
        let at = at.to_string_lossy().into_owned();
        self.0.run(&["-C", &at, "commit", "-q", "-a", "-m", "step"])?;
        Ok(())
    }

    fn delete(&mut self) -> Outcome {
        for number in std::mem::take(&mut self.2) {
            let at = self.at(number).to_string_lossy().into_owned();
            self.0.run(&["worktree", "remove", "--force", &at])?;
            self.0.run(&["branch", "-q", "-D", &format!("agent-{number}")])?;
        }
        Ok(())
    }

    fn space(&self) -> Outcome<u64> {
        let trees = if self.1.exists() { disk::space(&self.1)? } else { 0 };
        Ok(trees + disk::space(self.0.directory())?)
    }
}

struct Copies {
    way: Way,
    base: PathBuf,
    top: PathBuf,
    home: PathBuf,
    class: Class,
}

impl Forker for Copies {
    fn fork(&mut self, number: u64) -> Outcome {
        self.way
            .copy(&self.base, &self.top.join(number.to_string()), &self.home)?;
        Ok(())
    }

    fn work(&mut self, number: u64, edits: &[(String, Vec<u8>)]) -> Outcome {
        let at = self.top.join(number.to_string());
        replace(&at, edits)?;
        if self.class == Class::Durable {
            caches::sync_file_system(&at)?;
        }
        Ok(())
    }

    fn delete(&mut self) -> Outcome {
        for entry in fs::read_dir(&self.top)? {
            fs::remove_dir_all(entry?.path())?;
        }
        Ok(())
    }

    /// The base with its copies, so that what is shared counts once.
    fn space(&self) -> Outcome<u64> {
        disk::space_of(&[&self.base, &self.top])
    }
}

struct Databases {
    agent: Agent,
    base: PathBuf,
    directory: PathBuf,
}

impl Databases {
    fn at(&self, number: u64) -> PathBuf {
        self.directory.join(format!("fork-{number}.db"))
    }
}

impl Forker for Databases {
    fn fork(&mut self, number: u64) -> Outcome {
        let at = self.at(number);
        fs::copy(&self.base, &at)?;
        self.agent.open(&at)
    }

    fn work(&mut self, _: u64, edits: &[(String, Vec<u8>)]) -> Outcome {
        self.agent.step(edits)?;
        self.agent.close()
    }

    fn delete(&mut self) -> Outcome {
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if path
                .file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("fork-"))
            {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn space(&self) -> Outcome<u64> {
        disk::space(&self.directory)
    }
}

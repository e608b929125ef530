//! A real directory of 35,000 files and more: committed, committed again unchanged, and given out as a usable directory.
//!
//! The tree is the unpacked packages of cargo's registry (or `HELIOS_BENCH_TREE`), copied until there are enough files; a
//! smoke test makes some of its own. All of it is in the page cache, and what a turn leaves there unwritten is written before
//! the next is timed. Helios, git and restic are run as programs. The ceiling of an unchanged commit is a thread that walks and
//! stats the tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::goals::{Goal, Target};
use crate::lab::Lab;
use crate::measure::child::{self, Ran};
use crate::measure::contest::{Contest, Who};
use crate::measure::figures::{Quantity, Round};
use crate::measure::{Class, Outcome, disk};
use crate::peers::copies::Way;
use crate::peers::git::{self, Repository, write_files};
use crate::peers::helios::Program;
use crate::peers::restic;
use crate::report::row::Row;
use crate::sandbox::{content, time};
use crate::walk::walk;

use super::Workload;

const NAME: &str = "directory";
const FIRST: &str = "first commit";
const AGAIN: &str = "commit of what has not changed";
const OUT: &str = "a usable directory";
const TIME: Quantity = Quantity::time("time");
/// After this time a change of a file shows in its times, by the clocks of all file systems in use.
const SETTLED: Duration = Duration::from_millis(2100);
const WALK: &str = "walk and stat, one thread";

/// See the module.
pub const WORKLOAD: Workload = Workload {
    name: NAME,
    question: "how long do commits of a real directory take, and directories made from them?",
    goals: &[
        goal(AGAIN, Class::Durable, Target::OfCeiling(WALK, 1.0 / 1.3)),
        goal(AGAIN, Class::Durable, Target::TimesBetter("restic", 10.0)),
        goal(OUT, Class::Visible, Target::TimesBetter("cp -a", 1.0)),
    ],
    run,
};

const fn goal(case: &'static str, class: Class, target: Target) -> Goal {
    Goal {
        workload: NAME,
        case,
        class,
        quantity: TIME.name,
        target,
    }
}

fn run(lab: &Lab) -> Outcome<Vec<Row>> {
    let top = lab.fresh(NAME)?;
    let tree = tree(lab, &top.join("tree"))?;
    let mut rows = first(lab, &top, &tree)?;
    rows.extend(again(lab, &top, &tree)?);
    rows.extend(out(lab, &top, &tree)?);
    lab.fresh(NAME)?;
    Ok(rows)
}

/// Makes the tree; its files are read once, so that they are in the page cache.
fn tree(lab: &Lab, at: &Path) -> Outcome<PathBuf> {
    fs::create_dir_all(at)?;
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let named = std::env::var_os("HELIOS_BENCH_TREE").map(PathBuf::from);
    let source = named.or_else(|| Some(cargo?.join("registry/src")));
    match source.filter(|source| !lab.scale.quick && source.is_dir() && walk(source) > 0) {
        Some(source) => {
            let mut copies = 0;
            while walk(at) < 35_000 {
                Way::Whole.copy(&source, &at.join(format!("copy-{copies}")), &lab.home())?;
                copies += 1;
            }
        }
        None => {
            let files = lab.scale.pick(35_000, 300);
            let file = |number: u64| {
                let path = format!("package-{}/part-{}/file-{number}", number % 60, number % 7);
                (path, content(number, 200 + (number * 977 % 8000) as usize))
            };
            write_files(at, (0..files).map(file))?;
        }
    }
    eprintln!("  {} files, {} bytes on the disk", walk(at), disk::space(at)?);
    // Times of files that are as old as the commit that saw them cannot be trusted by anybody's cache of them.
    crate::sandbox::pause(SETTLED);
    Ok(at.to_owned())
}

fn first(lab: &Lab, top: &Path, tree: &Path) -> Outcome<Vec<Row>> {
    let class = Class::Durable;
    let mut contest = Contest::new(NAME, FIRST);
    let who = Who::helios(class, "into a new store");
    match lab.helios() {
        Err(why) => contest.skip(who, why),
        Ok(helios) => contest.enter(who, || {
            let store = top.join("first.helios");
            Ok(Box::new(move |round: &mut Round| {
                disk::clear(&store)?;
                helios.init(&store, "16G")?;
                let mut commit = helios.command(&store, &["commit", "-q", "-b", "main"]);
                record(round, child::watch(commit.arg(tree))?);
                Ok(())
            }))
        }),
    }
    let who = Who::peer(
        "git",
        class,
        format!("add -A and commit, new repository; {}", git::settings(class)),
    );
    lab.enter(&mut contest, who, Some("git"), || {
        let at = top.join("first.git");
        Ok(Box::new(move |round: &mut Round| {
            disk::clear(&at)?;
            let repository = Repository::beside(&at, tree, &lab.home(), class)?;
            round.record(TIME, repository.commit_all("first")?);
            Ok(())
        }))
    });
    let who = Who::peer("restic", class, format!("new repository; {}", restic::NOTE));
    lab.enter(&mut contest, who, Some(restic::PROGRAM), || {
        let at = top.join("first.restic");
        Ok(Box::new(move |round: &mut Round| {
            let repository = restic::Repository::new(&at, &lab.home())?;
            record(round, repository.backup(tree, true)?);
            Ok(())
        }))
    });
    let who = Who::peer("cp -a", class, "a copy, then syncfs");
    lab.enter(&mut contest, who, Some("cp"), || {
        let to = top.join("first.copy");
        Ok(Box::new(move |round: &mut Round| {
            disk::clear(&to)?;
            let (ns, done) = time(|| -> Outcome {
                Way::Whole.copy(tree, &to, &lab.home())?;
                crate::measure::caches::sync_file_system(&to)
            });
            done?;
            round.record(TIME, ns);
            Ok(())
        }))
    });
    let rows = lab.run(contest);
    for name in ["first.helios", "first.git", "first.restic", "first.copy"] {
        disk::remove(&top.join(name))?;
    }
    Ok(rows)
}

fn again(lab: &Lab, top: &Path, tree: &Path) -> Outcome<Vec<Row>> {
    let class = Class::Durable;
    let mut contest = Contest::new(NAME, AGAIN);
    let who = Who::helios(class, "the program, start and end included");
    match lab.helios() {
        Err(why) => contest.skip(who, why),
        Ok(helios) => contest.enter(who, || {
            let store = top.join("store.helios");
            helios.init(&store, "16G")?;
            let commit = move || {
                let mut commit = helios.command(&store, &["commit", "-q", "-b", "main"]);
                child::watch(commit.arg(tree))
            };
            commit()?;
            Ok(Box::new(move |round: &mut Round| {
                record(round, commit()?);
                Ok(())
            }))
        }),
    }
    let who = Who::peer(
        "git",
        class,
        format!("add -A and commit; {}", git::settings(class)),
    );
    lab.enter(&mut contest, who, Some("git"), || {
        let repository = Repository::beside(&top.join("store.git"), tree, &lab.home(), class)?;
        repository.commit_all("first")?;
        Ok(Box::new(move |round: &mut Round| {
            round.record(TIME, repository.commit_all("again")?);
            Ok(())
        }))
    });
    let who = Who::peer("restic", class, restic::NOTE);
    lab.enter(&mut contest, who, Some(restic::PROGRAM), || {
        let repository = restic::Repository::new(&top.join("store.restic"), &lab.home())?;
        repository.backup(tree, true)?;
        Ok(Box::new(move |round: &mut Round| {
            record(round, repository.backup(tree, true)?);
            Ok(())
        }))
    });
    contest.enter(Who::ceiling(WALK, class, "in this process"), || {
        Ok(Box::new(move |round: &mut Round| {
            let (ns, files) = time(|| walk(tree));
            std::hint::black_box(files);
            round.record(TIME, ns);
            Ok(())
        }))
    });
    Ok(lab.run(contest))
}

/// Stores are those of the commits before; a server has one of its own.
fn out(lab: &Lab, top: &Path, tree: &Path) -> Outcome<Vec<Row>> {
    let class = Class::Visible;
    let mut contest = Contest::new(NAME, OUT);
    let own = Who::helios(class, "branch and materialize");
    let served =
        Who::helios(class, "the same beside `helios serve`, which owns the store").named("helios, served");
    match lab.helios() {
        Err(why) => {
            contest.skip(own, why.clone());
            contest.skip(served, why);
        }
        Ok(helios) => {
            let given_out = |store: PathBuf, to: PathBuf, helios: Program| {
                let mut number = 0;
                move |round: &mut Round| {
                    disk::clear(&to)?;
                    number += 1;
                    let name = format!("fork-{number}");
                    let branch = ran(helios.command(&store, &["branch", &name, "main"]), &[])?;
                    let out = ran(helios.command(&store, &["materialize", "-q", &name]), &[&to])?;
                    round.record(TIME, branch + out);
                    Ok(())
                }
            };
            contest.enter(own, || {
                let (store, to) = (top.join("store.helios"), top.join("out.helios"));
                Ok(Box::new(given_out(store, to, helios.clone())))
            });
            contest.enter(served, || {
                let (store, to) = (top.join("served.helios"), top.join("out.served"));
                helios.init(&store, "16G")?;
                let server = helios.serve(&store)?;
                child::run(helios.command(&store, &["commit", "-q", "-b", "main"]).arg(tree))?;
                let mut turn = given_out(store, to, helios.clone());
                Ok(Box::new(move |round: &mut Round| {
                    let _serves = &server;
                    turn(round)
                }))
            });
        }
    }
    let who = Who::peer("git", class, "worktree add");
    lab.enter(&mut contest, who, Some("git"), || {
        let repository = Repository::known(&top.join("store.git"), tree, &lab.home());
        let to = top.join("out.git");
        let mut number = 0;
        Ok(Box::new(move |round: &mut Round| {
            disk::clear(&to)?;
            number += 1;
            repository.run(&["worktree", "prune"])?;
            let name = format!("fork-{number}");
            let path = to.to_string_lossy().into_owned();
            round.record(
                TIME,
                repository.run(&["worktree", "add", "-q", "-b", &name, &path])?,
            );
            Ok(())
        }))
    });
    let who = Who::peer("restic", class, restic::NOTE);
    lab.enter(&mut contest, who, Some(restic::PROGRAM), || {
        let repository = restic::Repository::known(&top.join("store.restic"), &lab.home());
        let to = top.join("out.restic");
        Ok(Box::new(move |round: &mut Round| {
            disk::clear(&to)?;
            round.record(TIME, repository.restore("latest", &to)?);
            Ok(())
        }))
    });
    for way in [Way::Whole, Way::Links] {
        let note = match way {
            Way::Whole => "without reflinks",
            Way::Links => "hard links: a file written in place changes in all copies",
        };
        lab.enter(
            &mut contest,
            Who::peer(way.name(), class, note),
            Some("cp"),
            || {
                let to = top.join(way.name().replace(' ', "-"));
                Ok(Box::new(move |round: &mut Round| {
                    disk::clear(&to)?;
                    round.record(TIME, way.copy(tree, &to, &lab.home())?);
                    Ok(())
                }))
            },
        );
    }
    Ok(lab.run(contest))
}

/// Time and memory of a program.
fn record(round: &mut Round, ran: Ran) {
    round.record(TIME, ran.ns);
    ran.record_memory(round);
}

/// Runs a command with paths after its arguments; nanoseconds.
fn ran(mut command: std::process::Command, paths: &[&Path]) -> Outcome<u64> {
    child::run(command.args(paths))
}

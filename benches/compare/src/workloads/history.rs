//! Histories of published packages: each version is unpacked over the one before and committed, then each is given out again.
//!
//! `scripts/compare` fetches the packages; a smoke test makes versions of its own. Everybody begins each round with nothing
//! and works in the same directory, whose files are on the device before a commit begins. What is given out is compared with
//! the version, byte for byte. What is kept is what it takes on the disk. git is there as it is after the commits, and after
//! it has packed everything, whose time is in the time of all commits.

use std::fs;
use std::path::{Path, PathBuf};

use crate::lab::Lab;
use crate::measure::contest::{Contest, Turn, Who};
use crate::measure::figures::{Quantity, Round};
use crate::measure::{Class, Outcome, child, disk};
use crate::peers::git::{self, Repository, write_files};
use crate::peers::helios::Program;
use crate::peers::restic;
use crate::report::row::Row;
use crate::sandbox::content;

use super::Workload;

const NAME: &str = "history";
const CLASS: Class = Class::Durable;
const COMMIT: Quantity = Quantity::time("commit of a version");
const ALL: Quantity = Quantity::time("all commits, and packing");
const OUT: Quantity = Quantity::time("a version given out");
const KEPT: Quantity = Quantity::bytes("bytes kept on the disk");

/// See the module.
pub const WORKLOAD: Workload = Workload {
    name: NAME,
    question: "how long do commits of successive versions take, and how many bytes are kept?",
    goals: &[],
    run,
};

/// Somebody who keeps versions of a directory.
trait Keeper: Send {
    /// Commits what is in the directory; nanoseconds.
    fn commit(&mut self) -> Outcome<u64>;
    /// What is done after the last commit; nanoseconds.
    fn finish(&mut self) -> Outcome<u64> {
        Ok(0)
    }
    /// Makes a directory from the version that was committed `ago` commits before the last; nanoseconds.
    fn give(&mut self, ago: usize, to: &Path) -> Outcome<u64>;
}

/// A keeper with nothing in it: where it keeps, and the directory that it commits.
type Open<'a> = Box<dyn Fn(&Path, &Path) -> Outcome<Box<dyn Keeper>> + Send + 'a>;

fn run(lab: &Lab) -> Outcome<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, archives) in packages(lab)? {
        let top = lab.fresh(NAME)?;
        let mut versions = Vec::new();
        for (number, archive) in archives.iter().enumerate() {
            let at = top.join(format!("version-{number}"));
            unpack(lab, archive, &at)?;
            versions.push(at);
        }
        if lab.scale.quick {
            versions = made_up(&top)?;
        }
        rows.extend(contest(lab, &name, &top, versions)?);
    }
    if rows.is_empty() {
        let mut contest = Contest::new(NAME, "published packages");
        contest.skip(
            Who::helios(CLASS, ""),
            "there are no packages (scripts/compare fetches them)",
        );
        rows = lab.run(contest);
    }
    lab.fresh(NAME)?;
    Ok(rows)
}

/// Names of packages, and the archives of their versions in order.
fn packages(lab: &Lab) -> Outcome<Vec<(String, Vec<PathBuf>)>> {
    if lab.scale.quick {
        return Ok(vec![("made up".to_owned(), Vec::new())]);
    }
    let corpus = lab.cache.as_ref().map(|cache| cache.join("packages"));
    let Some(corpus) = corpus.filter(|path| path.is_dir()) else {
        return Ok(Vec::new());
    };
    let mut packages = Vec::new();
    for package in listed(&corpus)? {
        let name = package.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with('.') && package.is_dir() {
            let mut archives = listed(&package)?;
            archives.retain(|path| path.extension().is_some_and(|extension| extension == "tar"));
            packages.push((name.into_owned(), archives));
        }
    }
    packages.retain(|(_, archives)| archives.len() > 1);
    Ok(packages)
}

fn listed(directory: &Path) -> Outcome<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        paths.push(entry?.path());
    }
    paths.sort();
    Ok(paths)
}

/// Archives have one directory, by the name of the package and maybe its version.
fn unpack(lab: &Lab, archive: &Path, to: &Path) -> Outcome {
    fs::create_dir_all(to)?;
    let mut tar = child::command("tar", &lab.home());
    tar.args(["--no-same-owner", "--strip-components=1", "-xf"])
        .arg(archive)
        .arg("-C")
        .arg(to);
    child::run(&mut tar)?;
    Ok(())
}

/// Copies a version to where it is committed; files have been written just now, as somebody who unpacks them leaves them. With
/// the times that are in the packages, the same in all versions, git has missed changes: it knows a file again by its size, its
/// inode and times in whole seconds.
fn place(lab: &Lab, version: &Path, to: &Path) -> Outcome {
    let mut cp = child::command("cp", &lab.home());
    cp.args(["-dR", "--preserve=mode", "--reflink=never"])
        .arg(version)
        .arg(to);
    child::run(&mut cp)?;
    Ok(())
}

/// Three versions of forty files, in which some are new, some are others, and some are gone.
fn made_up(top: &Path) -> Outcome<Vec<PathBuf>> {
    let version = |number: u64| {
        let at = top.join(format!("version-{number}"));
        let files = (number..40 + number).map(|file| {
            let edition = if file % 5 == number { number } else { 0 };
            (
                format!("part-{}/file-{file}", file % 3),
                content(file + (edition << 32), 500 + 300 * file as usize),
            )
        });
        write_files(&at, files)?;
        Ok(at)
    };
    (0..3).map(version).collect()
}

fn contest(lab: &Lab, name: &str, top: &Path, versions: Vec<PathBuf>) -> Outcome<Vec<Row>> {
    let mut bytes = 0;
    for version in &versions {
        bytes += disk::space(version)?;
    }
    eprintln!("  {name}: {} versions, {bytes} bytes on the disk", versions.len());
    let mut contest = Contest::new(NAME, format!("{name}, {} versions", versions.len()));
    let who = Who::helios(CLASS, "commit and materialize");
    match lab.helios() {
        Err(why) => contest.skip(who, why),
        Ok(program) => contest.enter(who, || {
            let open: Open = Box::new(move |at, tree| {
                program.init(at, "16G")?;
                let (program, at, tree) = (program.clone(), at.to_owned(), tree.to_owned());
                Ok(Box::new(Helios { program, at, tree }))
            });
            Ok(turn(lab, top, &versions, open))
        }),
    }
    for (name, packs, how) in [
        ("git", false, "loose objects"),
        ("git gc", true, "packed, with deltas"),
    ] {
        let who = Who::peer(name, CLASS, format!("{how}; {}", git::settings(CLASS)));
        lab.enter(&mut contest, who, Some("git"), || {
            let open: Open = Box::new(move |at, tree| {
                let repository = Repository::beside(at, tree, &lab.home(), CLASS)?;
                Ok(Box::new(Git { repository, packs }))
            });
            Ok(turn(lab, top, &versions, open))
        });
    }
    let who = Who::peer("restic", CLASS, format!("compresses; {}", restic::NOTE));
    lab.enter(&mut contest, who, Some(restic::PROGRAM), || {
        let open: Open = Box::new(|at, tree| {
            let repository = restic::Repository::new(at, &lab.home())?;
            let tree = tree.to_owned();
            Ok(Box::new(Restic {
                repository,
                tree,
                ids: Vec::new(),
            }))
        });
        Ok(turn(lab, top, &versions, open))
    });
    Ok(lab.run(contest))
}

/// A round: all versions committed, then all given out.
fn turn<'a>(lab: &'a Lab, top: &Path, versions: &[PathBuf], open: Open<'a>) -> Turn<'a> {
    let (at, tree, out) = (top.join("kept"), top.join("tree"), top.join("out"));
    let versions = versions.to_vec();
    Box::new(move |round: &mut Round| {
        disk::remove(&at)?;
        disk::remove(&tree)?;
        fs::create_dir(&tree)?;
        let mut keeper = open(&at, &tree)?;
        let mut all = 0;
        for version in &versions {
            disk::remove(&tree)?;
            place(lab, version, &tree)?;
            rustix::fs::sync();
            let ns = keeper.commit()?;
            round.record(COMMIT, ns);
            all += ns;
        }
        round.record(ALL, all + keeper.finish()?);
        round.record(KEPT, disk::space(&at)?);
        for (version, ago) in versions.iter().zip((0..versions.len()).rev()) {
            disk::clear(&out)?;
            round.record(OUT, keeper.give(ago, &out)?);
            disk::check_same(version, &out)?;
        }
        disk::remove(&out)?;
        disk::remove(&at)
    })
}

struct Helios {
    program: Program,
    at: PathBuf,
    tree: PathBuf,
}

impl Keeper for Helios {
    fn commit(&mut self) -> Outcome<u64> {
        let mut command = self.program.command(&self.at, &["commit", "-q", "-b", "main"]);
        child::run(command.arg(&self.tree))
    }

    fn give(&mut self, ago: usize, to: &Path) -> Outcome<u64> {
        let revision = format!("main~{ago}");
        let mut command = self.program.command(&self.at, &["materialize", "-q", &revision]);
        child::run(command.arg(to))
    }
}

struct Git {
    repository: Repository,
    packs: bool,
}

impl Keeper for Git {
    fn commit(&mut self) -> Outcome<u64> {
        self.repository.commit_all("version")
    }

    fn finish(&mut self) -> Outcome<u64> {
        if self.packs {
            self.repository.run(&["gc", "-q"])
        } else {
            Ok(0)
        }
    }

    fn give(&mut self, ago: usize, to: &Path) -> Outcome<u64> {
        self.repository.run(&["worktree", "prune"])?;
        let (revision, to) = (format!("HEAD~{ago}"), to.to_string_lossy());
        self.repository
            .run(&["worktree", "add", "-q", "--detach", &to, &revision])
    }
}

struct Restic {
    repository: restic::Repository,
    tree: PathBuf,
    /// Of snapshots, oldest first.
    ids: Vec<String>,
}

impl Keeper for Restic {
    fn commit(&mut self) -> Outcome<u64> {
        Ok(self.repository.backup(&self.tree, true)?.ns)
    }

    fn finish(&mut self) -> Outcome<u64> {
        self.ids = self.repository.snapshots()?;
        Ok(0)
    }

    fn give(&mut self, ago: usize, to: &Path) -> Outcome<u64> {
        let id = self.ids.iter().rev().nth(ago).ok_or("a snapshot is missing")?;
        self.repository.restore(id, to)
    }
}

//! git, the program.
//!
//! Durable: `core.fsync=committed,reference` with `core.fsyncMethod=fsync`, which git documents as hardening everything that
//! a commit consists of, and the branch. Visible: `core.fsync=none`. Nothing is collected in between (`gc.auto=0`,
//! `maintenance.auto=false`), which is kind to git: its pauses for that are not in the figures.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Stepper;
use crate::measure::{Class, Outcome, caches, child};

/// A repository and its first working tree.
pub struct Repository {
    directory: PathBuf,
    /// Where the repository is, if it is not in the working tree.
    beside: Option<PathBuf>,
    home: PathBuf,
}

/// No conversions.
const ATTRIBUTES: &str = "* -text -ident -filter -eol -working-tree-encoding\n";

/// The settings of a class, as a note.
pub fn settings(class: Class) -> &'static str {
    match class {
        Class::Durable => "core.fsync=committed,reference; gc off",
        _ => "core.fsync=none; gc off",
    }
}

fn fsync(class: Class) -> &'static str {
    match class {
        Class::Durable => "committed,reference",
        _ => "none",
    }
}

impl Repository {
    /// An empty repository in `directory`.
    pub fn new(directory: &Path, home: &Path, class: Class) -> Outcome<Repository> {
        fs::create_dir_all(directory)?;
        let repository = Repository {
            directory: directory.to_owned(),
            beside: None,
            home: home.to_owned(),
        };
        repository.set_up(&directory.join(".git"), class)?;
        Ok(repository)
    }

    /// An empty repository at `git`, of a working tree that does not know of it.
    pub fn beside(git: &Path, tree: &Path, home: &Path, class: Class) -> Outcome<Repository> {
        let repository = Repository::known(git, tree, home);
        repository.set_up(git, class)?;
        Ok(repository)
    }

    /// The same for one that is there.
    pub fn known(git: &Path, tree: &Path, home: &Path) -> Repository {
        Repository {
            directory: tree.to_owned(),
            beside: Some(git.to_owned()),
            home: home.to_owned(),
        }
    }

    fn set_up(&self, git: &Path, class: Class) -> Outcome {
        self.run(&["init", "-q", "-b", "main"])?;
        let fsync = fsync(class);
        let config = format!(
            "[user]\n\tname = compare\n\temail = compare@localhost\n[core]\n\tfsync = {fsync}\n\tfsyncMethod = fsync\n\
             [gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n[commit]\n\tgpgSign = false\n"
        );
        let path = git.join("config");
        let known = fs::read_to_string(&path)?;
        fs::write(path, known + &config)?;
        // Bytes are kept as they are, whatever the files that are committed say of ends of lines.
        fs::create_dir_all(git.join("info"))?;
        Ok(fs::write(git.join("info/attributes"), ATTRIBUTES)?)
    }

    /// Makes what was committed so far durable, and has commits promise something else from now on.
    pub fn promise(&self, class: Class) -> Outcome {
        self.run(&["config", "core.fsync", fsync(class)])?;
        caches::sync_file_system(&self.directory)
    }

    /// Where its files lie.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// A git command in the first working tree.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = child::command("git", &self.home);
        if let Some(git) = &self.beside {
            command
                .arg("--git-dir")
                .arg(git)
                .arg("--work-tree")
                .arg(&self.directory);
        }
        command.current_dir(&self.directory).args(arguments);
        command
    }

    /// Runs it; nanoseconds.
    pub fn run(&self, arguments: &[&str]) -> Outcome<u64> {
        child::run(&mut self.command(arguments))
    }

    /// Writes files into the first working tree.
    pub fn write(&self, files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Outcome {
        write_files(&self.directory, files)
    }

    /// Adds everything, what the tree itself wants to be ignored too, and commits it.
    pub fn commit_all(&self, message: &str) -> Outcome<u64> {
        let added = self.run(&["add", "-A", "-f"])?;
        Ok(added + self.run(&["commit", "-q", "--allow-empty", "-m", message])?)
    }
}

impl Stepper for Repository {
    fn step(&mut self, edits: &[(String, Vec<u8>)]) -> Outcome {
        for (path, bytes) in edits {
            fs::write(self.directory.join(path), bytes)?;
        }
        self.run(&["commit", "-q", "-a", "-m", "step"])?;
        Ok(())
    }
}

/// Writes files below a directory, making the directories that they lie in.
pub fn write_files(top: &Path, files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Outcome {
    for (path, bytes) in files {
        let path = top.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(path, bytes)?;
    }
    Ok(())
}

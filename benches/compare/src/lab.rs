//! What all workloads are given: the scale, a place, the programs that are there, and who is wanted.

use std::path::{Path, PathBuf};

use crate::measure::contest::{Contest, Turn, Who};
use crate::measure::{Outcome, Scale, caches, child, disk};
use crate::options::Options;
use crate::peers::helios::Program;
use crate::report::row::{Role, Row};
use crate::sandbox::Sandbox;

/// See the module.
pub struct Lab {
    /// How large, how often.
    pub scale: Scale,
    /// Everything is written here; it goes away at the end.
    pub sandbox: Sandbox,
    /// What was downloaded before, if anything.
    pub cache: Option<PathBuf>,
    helios: Option<PathBuf>,
    peers: Vec<String>,
}

impl Lab {
    /// By the command line.
    pub fn new(options: &Options) -> Lab {
        let repetitions = options.repetitions.unwrap_or(if options.quick { 1 } else { 5 });
        Lab {
            scale: Scale {
                quick: options.quick,
                repetitions: repetitions.into(),
                seed: options.seed,
            },
            sandbox: Sandbox::new_in(&options.dir),
            cache: options.cache.clone().filter(|path| path.is_dir()),
            helios: options.helios.as_ref().and_then(|path| path.canonicalize().ok()),
            peers: options.peers.clone(),
        }
    }

    /// Where the program is, if it is anywhere.
    pub fn helios_path(&self) -> Option<&Path> {
        self.helios.as_deref()
    }

    /// The program.
    pub fn helios(&self) -> Result<Program, String> {
        let path = self
            .helios
            .as_ref()
            .ok_or("no program helios was given (--helios)")?;
        Ok(Program::new(path, &self.home()))
    }

    /// The home of all programs that are run.
    pub fn home(&self) -> PathBuf {
        self.sandbox.path("home")
    }

    /// An empty directory of this name.
    pub fn fresh(&self, name: &str) -> Outcome<PathBuf> {
        let path = self.sandbox.path(name);
        disk::remove(&path)?;
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Empties the page cache, if that is allowed. A smoke test leaves it alone: the machine has other work.
    pub fn empty_caches(&self) {
        if !self.scale.quick {
            caches::drop_all();
        }
    }

    /// Lets a subject take part if it is wanted; if the program that it needs is missing, the report says so.
    pub fn enter<'a>(
        &self,
        contest: &mut Contest<'a>,
        who: Who,
        program: Option<&str>,
        set_up: impl FnOnce() -> Outcome<Turn<'a>>,
    ) {
        if !self.wants(&who) {
            return;
        }
        match program.map_or(Ok(PathBuf::new()), child::find) {
            Ok(_) => contest.enter(who, set_up),
            Err(why) => contest.skip(who, why),
        }
    }

    /// Whether a subject is wanted. Helios and ceilings always are.
    pub fn wants(&self, who: &Who) -> bool {
        who.role != Role::Peer
            || self.peers.is_empty()
            || self.peers.iter().any(|peer| who.name.starts_with(peer.as_str()))
    }

    /// Runs a contest.
    pub fn run(&self, contest: Contest<'_>) -> Vec<Row> {
        contest.run(&self.scale)
    }
}

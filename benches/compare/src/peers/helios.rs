//! Helios itself: in process through its library, and its program for whole directories.

use std::io::{BufRead, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use helios_engine::device::Address;
use helios_engine::format::Domain;
use helios_engine::objects::{Durability, PutOptions};
use helios_engine::store::{CreateOptions, Store};
use helios_engine::trees::{CommitOptions, ExpectHead, Trees, WorkingOptions, WorkingTree};
use rustix::process::{Pid, Signal};

use super::{Content, Objects, Queue, Stepper};
use crate::measure::{Class, Outcome, child, disk};
use crate::sandbox::Sandbox;
use crate::workloads::forks::Forker;

/// Memory for cached extents where a store is opened in process, unless a row says otherwise.
pub const CACHE_BYTES: u64 = 64 << 20;

/// An agent's working tree of the common files, in a store of its own.
pub struct Steps {
    store: Store,
    /// Gone before the store closes.
    tree: Option<WorkingTree>,
    durable: bool,
}

impl Steps {
    /// A store with everything committed.
    pub fn new(sandbox: &Sandbox, name: &str, class: Class) -> Outcome<Steps> {
        let store = sandbox.store(name, 16 << 30, 1, CACHE_BYTES);
        let tree = crate::steps::tree(&store);
        Ok(Steps {
            store,
            tree: Some(tree),
            durable: class == Class::Durable,
        })
    }

    /// Nanoseconds of a step.
    pub fn time(&mut self, edits: &[(String, Vec<u8>)], durable: bool) -> u64 {
        let tree = self.tree.as_mut().expect("there until it is dropped");
        crate::steps::step(&self.store, tree, edits, durable)
    }

    /// Bytes of the frames written so far.
    pub fn frame_bytes(&self) -> u64 {
        self.store.stats().totals.frame_bytes
    }
}

impl Stepper for Steps {
    fn step(&mut self, edits: &[(String, Vec<u8>)]) -> Outcome {
        self.time(edits, self.durable);
        Ok(())
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        drop(self.tree.take());
        // What cannot be closed is thrown away with the sandbox.
        let _ = self.store.clone().close();
    }
}

/// A tree, and working trees that are forks of it.
pub struct Forks {
    store: Store,
    path: PathBuf,
    trees: Trees,
    /// The tree, and the forks of a round, the first of which has this number, with their names; gone before the store closes.
    base: Option<WorkingTree>,
    forks: Vec<(String, Option<WorkingTree>)>,
    first: u64,
    durability: Class,
}

impl Forks {
    /// A store with these files committed.
    pub fn new(path: &Path, class: Class, files: impl Iterator<Item = (String, Vec<u8>)>) -> Outcome<Forks> {
        disk::remove(path)?;
        let options = CreateOptions {
            size: 16 << 30,
            ..CreateOptions::default()
        };
        Store::create(&Address::Path(path.to_owned()), &options)?;
        let store = crate::sandbox::open(path, 1, CACHE_BYTES);
        let trees = Trees::new(store.clone(), Domain(0));
        let mut base = trees.open_new("main", WorkingOptions::default())?;
        store.block_on(async {
            for (path, bytes) in files {
                if let Some((directory, _)) = path.rsplit_once('/') {
                    base.create_directories(directory).await?;
                }
                base.write(&path, bytes).await?;
            }
            base.commit("first").await
        })?;
        Ok(Forks {
            store,
            path: path.to_owned(),
            trees,
            base: Some(base),
            forks: Vec::new(),
            first: 0,
            durability: class,
        })
    }
}

impl Forker for Forks {
    fn begin(&mut self, numbers: Range<u64>) {
        self.first = numbers.start;
        self.forks = numbers.map(|number| (format!("agent-{number}"), None)).collect();
    }

    fn fork(&mut self, number: u64) -> Outcome {
        let base = self.base.as_ref().ok_or("there until it is dropped")?;
        let (name, fork) = &mut self.forks[(number - self.first) as usize];
        *fork = Some(self.store.block_on(base.fork(name))?);
        Ok(())
    }

    fn work(&mut self, number: u64, edits: &[(String, Vec<u8>)]) -> Outcome {
        let (_, tree) = &mut self.forks[(number - self.first) as usize];
        let tree = tree.as_mut().ok_or("no such fork")?;
        let options = CommitOptions {
            durable: self.durability == Class::Durable,
            message: "step".into(),
            ..CommitOptions::default()
        };
        self.store.block_on(async {
            for (path, bytes) in edits {
                tree.write(path, bytes.clone()).await?;
            }
            tree.commit_with(&options).await
        })?;
        Ok(())
    }

    fn delete(&mut self) -> Outcome {
        for (name, tree) in std::mem::take(&mut self.forks) {
            drop(tree);
            let ack = self
                .store
                .block_on(self.trees.delete_branch(&name, ExpectHead::Any))?;
            if self.durability == Class::Durable {
                self.store.block_on(ack.durable())?;
            }
        }
        Ok(())
    }

    fn space(&self) -> Outcome<u64> {
        disk::space(&self.path)
    }
}

impl Drop for Forks {
    fn drop(&mut self) {
        self.forks.clear();
        drop(self.base.take());
        // What cannot be closed is thrown away with the sandbox.
        let _ = self.store.clone().close();
    }
}

/// A store of contents.
pub struct Contents {
    store: Store,
    objects: helios_engine::objects::Objects,
    options: PutOptions,
}

impl Contents {
    /// Opens the store at `path`, or makes it, with that much memory for cached extents.
    pub fn new(path: &Path, class: Class, cache_bytes: u64) -> Outcome<Contents> {
        if !path.exists() {
            let options = CreateOptions {
                size: 16 << 30,
                ..CreateOptions::default()
            };
            Store::create(&Address::Path(path.to_owned()), &options)?;
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let store = crate::sandbox::open(path, cores, cache_bytes);
        let durability = match class {
            Class::Visible => Durability::Visible,
            _ => Durability::Durable,
        };
        // Nothing is collected while it is measured, so that no pins are needed.
        let options = PutOptions {
            durability,
            pin: false,
        };
        let objects = helios_engine::objects::Objects::new(store.clone());
        Ok(Contents {
            store,
            objects,
            options,
        })
    }

    /// Lets `depth` clients that live on the reactors do something with every content.
    fn on_reactors<F: Future<Output = Outcome> + 'static>(
        &self,
        contents: &Arc<[Content]>,
        depth: usize,
        work: impl Fn(helios_engine::objects::Objects, Content) -> F + Clone + Send + 'static,
    ) -> Outcome {
        let (sender, receiver) = std::sync::mpsc::channel();
        let handles = self.store.runtime().handles();
        let queue = Queue::new(contents);
        for client in 0..depth {
            let (objects, queue) = (self.objects.clone(), queue.clone());
            let (sender, work) = (sender.clone(), work.clone());
            handles[client % handles.len()].spawn(move |_| async move {
                let mut end = Ok(());
                while let Some(content) = queue.take() {
                    end = work(objects.clone(), content.clone()).await;
                    if end.is_err() {
                        break;
                    }
                }
                // Nobody listens any more when another client has failed.
                let _ = sender.send(end);
            });
        }
        drop(sender);
        receiver.into_iter().take(depth).collect()
    }
}

impl Objects for Contents {
    fn put(&self, contents: &[Content]) -> Outcome {
        let contents: Vec<_> = contents.iter().map(|content| &content.bytes).collect();
        self.objects.blocking().put_batch(&contents, self.options)?;
        Ok(())
    }

    fn get(&self, content: &Content) -> Outcome<usize> {
        Ok(self.objects.blocking().get(content.id)?.len())
    }

    fn put_in_flight(&self, contents: &Arc<[Content]>, depth: usize) -> Outcome {
        let options = self.options;
        self.on_reactors(contents, depth, move |objects, content| async move {
            objects.put_with(content.bytes, options).await?;
            Ok(())
        })
    }

    fn get_in_flight(&self, contents: &Arc<[Content]>, depth: usize) -> Outcome {
        self.on_reactors(contents, depth, |objects, content| async move {
            objects.get(content.id).await?;
            Ok(())
        })
    }
}

impl Drop for Contents {
    fn drop(&mut self) {
        // What cannot be closed is thrown away with the sandbox.
        let _ = self.store.clone().close();
    }
}

/// The program.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    home: PathBuf,
}

impl Program {
    /// The program at `path`, with a home of its own.
    pub fn new(path: &Path, home: &Path) -> Program {
        let (path, home) = (path.to_owned(), home.to_owned());
        Program { path, home }
    }

    /// A command on a store.
    pub fn command(&self, store: &Path, arguments: &[&str]) -> Command {
        let mut command = child::command(&self.path, &self.home);
        command.args(arguments).arg("--store").arg(store);
        command
    }

    /// Makes a store.
    pub fn init(&self, store: &Path, size: &str) -> Outcome {
        child::run(&mut self.command(store, &["init", "-q", "--size", size]))?;
        Ok(())
    }
}

/// The program as the owner of a store, for commands that find it there.
pub struct Server(Child);

impl Program {
    /// Serves a store until the value is dropped.
    pub fn serve(&self, store: &Path) -> Outcome<Server> {
        let mut command = self.command(store, &["serve"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let said = child.stdout.take().ok_or("its output is a pipe")?;
        let server = Server(child);
        let mut line = String::new();
        BufReader::new(said).read_line(&mut line)?;
        match line.contains("serving") {
            true => Ok(server),
            false => Err("helios serve has ended".into()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; what it leaves is thrown away with the sandbox.
        let _ = rustix::process::kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

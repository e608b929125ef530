//! An owner that is started again under load: clients that follow the advice of their errors see nothing of it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use helios::client::{Advice, CallError, Client};
use helios::engine::format::ContentId;
use helios::ops::files::{FileResult, FileStep};
use helios::ops::{Class, Durability, Failure};
use helios::wire::message::{Answer, Call};

use crate::crash::pause;
use crate::owner::{Owner, PATIENCE, opening, read, write};
use crate::sandbox::Sandbox;

const CLIENTS: usize = 4;
/// Commits that are acknowledged between two restarts, by all clients together.
const BETWEEN: u32 = 20;

/// A tree that is open.
struct Tree {
    number: u64,
    head: Option<ContentId>,
}

/// One client, which counts on a branch of its own.
struct Worker<'a> {
    socket: &'a Path,
    branch: String,
    /// Numbers that were acknowledged as durable.
    acknowledged: u32,
    /// Answers that never came.
    unknown: u32,
}

impl Worker<'_> {
    /// A connection, a tree on the branch with the commit it began with, and the number in it.
    fn begin(&self) -> Result<(Client, Tree, u32), CallError> {
        let mut client = Client::connect_within(self.socket, PATIENCE)?;
        let socket = client.conversation().socket();
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let open = Call::OpenFiles(opening(&self.branch, None));
        let (Answer::Opened { tree, opened }, _) = client.call(&open, "")? else {
            panic!("another answer");
        };
        let (results, bytes) = client.files(tree, vec![read("n")], "")?;
        let number = match results.failed {
            None => u32::from_le_bytes(bytes.try_into().expect("four bytes")),
            Some(failure) if failure.class == Class::NotFound => 0,
            Some(failure) => return Err(failure.into()),
        };
        let tree = Tree {
            number: tree,
            head: opened.commit,
        };
        Ok((client, tree, number))
    }

    /// Writes a number, puts it behind all before it, and commits both.
    fn step(client: &mut Client, tree: &mut Tree, number: u32) -> Result<(), CallError> {
        let append = FileStep::Append {
            path: "log".into(),
            bytes: 4,
        };
        let commit = FileStep::Commit {
            message: number.to_string(),
            durability: Durability::Durable,
            expect: tree.head,
        };
        let bytes = number.to_le_bytes().repeat(2);
        let (results, _) = client.files(tree.number, vec![write("n", 4), append, commit], bytes)?;
        match (results.failed, results.results.last()) {
            (None, Some(FileResult::Committed { commit, .. })) => {
                tree.head = Some(*commit);
                Ok(())
            }
            (Some(failure), _) => Err(failure.into()),
            (None, other) => panic!("{other:?}"),
        }
    }

    /// Counts until it is told to end, whatever happens to the owner.
    fn count(&mut self, is_over: &AtomicBool, total: &AtomicU32) {
        while !is_over.load(SeqCst) {
            let (mut client, mut tree, found) = match self.begin() {
                Ok(begun) => begun,
                Err(error) => {
                    advised(&error);
                    continue;
                }
            };
            assert!(
                found >= self.acknowledged,
                "{found} after {} was acknowledged",
                self.acknowledged
            );
            // What was not acknowledged, and is there, was done.
            self.acknowledged = found;
            while !is_over.load(SeqCst) {
                match Worker::step(&mut client, &mut tree, self.acknowledged + 1) {
                    Ok(()) => {
                        self.acknowledged += 1;
                        total.fetch_add(1, SeqCst);
                    }
                    Err(error) => {
                        self.unknown += u32::from(matches!(error, CallError::Lost(_)));
                        advised(&error);
                        break;
                    }
                }
            }
        }
    }
}

/// Does what an error advises; one that advises nothing is what no client should see.
fn advised(error: &CallError) {
    match error.advice() {
        Advice::Again(after) => pause(u64::try_from(after.as_millis()).expect("short")),
        Advice::Reconnect => {}
        Advice::GiveUp => panic!("a client was told to give up: {error}"),
    }
}

/// Runs clients while owners come and go, and looks at what they have left.
fn clients_count(sandbox: &Sandbox, socket: &Path, come_and_go: impl FnOnce(&dyn Fn())) {
    let (is_over, total) = (AtomicBool::new(false), AtomicU32::new(0));
    let more = || {
        let wanted = total.load(SeqCst) + BETWEEN;
        for _ in 0..PATIENCE.as_millis() {
            if total.load(SeqCst) >= wanted {
                return;
            }
            pause(1);
        }
        panic!("clients do not get on");
    };
    let workers: Vec<Worker<'_>> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let mut worker = Worker {
                    socket,
                    branch: format!("b{number}"),
                    acknowledged: 0,
                    unknown: 0,
                };
                let (is_over, total) = (&is_over, &total);
                scope.spawn(move || {
                    worker.count(is_over, total);
                    worker
                })
            })
            .collect();
        // The others end too if one fails here.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| come_and_go(&more)));
        is_over.store(true, SeqCst);
        let workers = running
            .into_iter()
            .map(|worker| worker.join().expect("a client has failed"));
        let workers = workers.collect();
        if let Err(panic) = ended {
            std::panic::resume_unwind(panic);
        }
        workers
    });
    for worker in workers {
        let output = sandbox
            .helios()
            .args(["cat", &format!("{}:log", worker.branch)])
            .output()
            .expect("it runs");
        let numbers: Vec<u32> = output
            .stdout
            .chunks(4)
            .map(|number| u32::from_le_bytes(number.try_into().expect("four bytes")))
            .collect();
        let last = u32::try_from(numbers.len()).expect("few");
        assert_eq!(
            numbers,
            (1..=last).collect::<Vec<u32>>(),
            "{}: each number once",
            worker.branch
        );
        // The last answer may have been lost.
        let is_last = last == worker.acknowledged || last == worker.acknowledged + 1;
        assert!(is_last, "{last} after {} was acknowledged", worker.acknowledged);
        let log = sandbox.json(["log", &worker.branch, "-n", "100000"]);
        assert_eq!(log["commits"].as_array().expect("commits").len(), numbers.len());
        println!(
            "{}: {last} commits, {} answers lost",
            worker.branch, worker.unknown
        );
    }
    assert!(sandbox.run(["check", "--read-data"]).contains("0 damaged"));
}

/// Goal: clients that try again, as their errors advise, see nothing else of restarts, and every commit that was acknowledged is
/// there once. Method: counting clients; the owner ended four times and killed once, and started again each time.
#[test]
fn clients_survive_restarts() {
    let sandbox = Sandbox::new();
    let owner = sandbox.serve();
    let socket = owner.socket.clone();
    clients_count(&sandbox, &socket, |more| {
        let mut owner: Owner = owner;
        for round in 0..5 {
            more();
            if round == 2 {
                owner.kill();
            } else {
                owner.end();
            }
            // Long enough for everybody to find nobody there.
            pause(30);
            owner = sandbox.serve();
        }
        more();
        owner.end();
    });
}

/// Says that something is over, also when a test fails.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(false, SeqCst);
    }
}

/// Goal: with a socket of the service manager no connection is ever refused: clients wait in the kernel until the next owner is
/// there. Method: the same, with one listening socket passed to each owner in turn.
#[test]
fn passed_sockets_outlive_their_owners() {
    let sandbox = Sandbox::new();
    let path = sandbox.path("passed");
    let listener = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    let serve = || {
        let mut command = sandbox.process("/bin/sh");
        command
            .args(["-c", "LISTEN_PID=$$ exec \"$0\" serve --json 3<&0 0</dev/null"])
            .arg(assert_cmd::cargo::cargo_bin!("helios"))
            .env("LISTEN_FDS", "1");
        command.stdin(std::os::fd::OwnedFd::from(listener.try_clone().expect("a copy")));
        Owner::of_passed(command)
    };
    let owner = serve();
    let is_refused = AtomicBool::new(false);
    let probing = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let _ending = Ending(&probing);
        scope.spawn(|| {
            while probing.load(SeqCst) {
                is_refused.fetch_or(std::os::unix::net::UnixStream::connect(&path).is_err(), SeqCst);
                pause(5);
            }
        });
        clients_count(&sandbox, &path, |more| {
            let mut owner = owner;
            for round in 0..3 {
                more();
                if round == 1 {
                    owner.kill()
                } else {
                    owner.end()
                }
                owner = serve();
            }
            more();
            owner.end();
        });
    });
    assert!(
        !is_refused.load(SeqCst),
        "a connection was refused between two owners"
    );
}

/// Goal: a client tells an owner that is not there from one that does not want it. Method: the errors of both.
#[test]
fn absence_is_no_refusal() {
    let sandbox = Sandbox::new();
    let nowhere = sandbox.path("nowhere");
    let error = Client::connect_within(&nowhere, Duration::from_millis(20))
        .err()
        .expect("nobody");
    assert!(
        error.is_absent() && error.advice() == Advice::Reconnect,
        "{error}"
    );
    let owner = sandbox.serve();
    let mut client = owner.client();
    let missing = opening("missing", None);
    let missing = helios::ops::files::OpenFiles {
        create: false,
        ..missing
    };
    let error: CallError = client.open_files(missing).expect_err("no such branch");
    assert!(
        matches!(
            &error,
            CallError::Failed(Failure {
                class: Class::NotFound,
                ..
            })
        ),
        "{error}"
    );
    assert_eq!(error.advice(), Advice::GiveUp);
    owner.end();
}

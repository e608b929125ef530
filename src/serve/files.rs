//! The working trees that one client has open: each does one call after the other, several at once do not wait for each other.
//!
//! Invariant: what one tree has to do waits in a queue that the limit on calls bounds; a tree lives as long as its connection,
//! or until it is closed, and nothing of it stays behind. What trees and their calls hold in memory is counted in the share of
//! their connection: new work may be refused for it, calls that only look, commit or take back are not.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use helios_engine::ops::files::{FileResult, FileStep, Files, OpenFiles, Room};
use helios_engine::ops::{ByteString, Class, Failure};

use super::admission::Lane;
use super::connection::Connection;
use super::counters::{OpenTree, Tally, Timed};
use super::memory::{Held, OneTree, Share};
use crate::wire::frame::{BODY_BYTES_MAX, Frame, Kind};
use crate::wire::message::Answer;

/// Working trees of one connection.
const OPEN_MAX: usize = 64;
/// What a tree is taken to need before it is open: its top directory and a few below it.
const TREE_BYTES: usize = 64 << 10;
/// A call that needs no memory of its own is admitted up to this size, however little there is.
const SMALL_CALL: usize = 64 << 10;
/// The buffer that the body of a call is received in may be that much larger.
const BUFFER_BYTES: usize = 16 << 10;

/// Something to do with a tree.
enum Job {
    Steps(Vec<FileStep>, Bytes),
    Fork(ByteString),
    Close,
}

impl Job {
    /// The lane in which it waits for its turn; none for what gives back what others wait for.
    fn lane(&self) -> Option<Lane> {
        match self {
            Job::Steps(steps, _) => Some(Lane::of(steps.iter().all(FileStep::only_looks))),
            Job::Fork(_) => Some(Lane::Changes),
            Job::Close => None,
        }
    }
}

/// One tree.
#[derive(Default)]
struct Tree {
    /// Absent while a task works with it, and before it is open.
    files: Option<Files>,
    /// What it holds; absent before it is open.
    held: Option<Held>,
    _among: Option<OneTree>,
    waiting: VecDeque<(u64, Job, Held)>,
    _counted: Option<OpenTree>,
}

/// The open trees, by the number of the call that opened them.
#[derive(Default)]
pub struct OpenTrees(RefCell<HashMap<u64, Tree>>);

impl OpenTrees {
    /// Makes room for one more.
    fn claim(&self, number: u64, tally: &Tally) -> Result<(), Failure> {
        let mut trees = self.0.borrow_mut();
        if trees.len() >= OPEN_MAX {
            let what = format!("{OPEN_MAX} working trees of this connection are open");
            return Err(Failure::new(Class::Invalid, what).with_hint("close some, or use more connections"));
        }
        let tree = Tree {
            _counted: Some(OpenTree::new(tally)),
            ..Tree::default()
        };
        if trees.insert(number, tree).is_some() {
            return Err(Failure::new(
                Class::Invalid,
                format!(
                    "working tree {number} is open already; numbers of calls that open one are not used again"
                ),
            ));
        }
        Ok(())
    }

    fn opened(&self, number: u64, files: Files, held: Held) {
        if let Some(tree) = self.0.borrow_mut().get_mut(&number) {
            held.resize(files.memory_bytes());
            tree.files = Some(files);
            tree._among = Some(held.share().tree());
            tree.held = Some(held);
        }
    }

    /// What a tree holds.
    fn bytes(&self, number: u64) -> usize {
        let trees = self.0.borrow();
        let held = trees.get(&number).and_then(|tree| tree.held.as_ref());
        held.map_or(0, Held::bytes)
    }

    /// A call has changed what a tree holds.
    fn count(&self, number: u64, files: &Files) {
        let trees = self.0.borrow();
        if let Some(held) = trees.get(&number).and_then(|tree| tree.held.as_ref()) {
            held.resize(files.memory_bytes());
        }
    }

    /// Lets trees that nobody works with keep that much of what they can load again.
    pub fn release_idle(&self, keep_bytes: usize) {
        // Whoever changes the list now is not idle.
        let Ok(mut trees) = self.0.try_borrow_mut() else {
            return;
        };
        for tree in trees.values_mut() {
            if let (Some(files), Some(held)) = (&mut tree.files, &tree.held) {
                files.release(keep_bytes);
                held.resize(files.memory_bytes());
            }
        }
    }

    fn forget(&self, number: u64) {
        self.0.borrow_mut().remove(&number);
    }

    /// Drops all of them.
    pub fn clear(&self) {
        // What a task works with goes when that notices.
        let trees = std::mem::take(&mut *self.0.borrow_mut());
        drop(trees);
    }
}

/// Opens a tree; its number is that of the call.
pub fn open(
    connection: &Rc<Connection>,
    call: u64,
    timed: Timed,
    request: OpenFiles,
    head_bytes: usize,
) -> Result<(), Failure> {
    let held = connection.share.claim(TREE_BYTES + head_bytes)?;
    connection.trees.claim(call, &connection.tally)?;
    let task = Rc::clone(connection);
    connection.spawn_call(call, timed, async move {
        task.gate.has_turn(timed.began);
        let host = &task.server.host;
        let makes = request.fork.is_some() || request.create;
        let _pass = match task.gate.enter(task.number, Lane::of(!makes)).await {
            Ok(pass) => pass,
            Err(busy) => {
                task.trees.forget(call);
                return task.fail(call, &busy);
            }
        };
        match Files::open(host.trees(), host.objects(), &request).await {
            Ok(files) => {
                let opened = files.opened();
                task.trees.opened(call, files, held);
                task.answer(call, &Answer::Opened { tree: call, opened });
            }
            Err(error) => {
                task.trees.forget(call);
                task.fail(call, &error.into());
            }
        }
    });
    Ok(())
}

/// Memory for a call with steps. Looking, committing and taking back need next to none, and are how others get theirs.
pub fn admit(
    share: &Rc<Share>,
    steps: &[FileStep],
    bytes: &Bytes,
    head_bytes: usize,
) -> Result<Held, Failure> {
    let buffer = if bytes.is_empty() { 0 } else { BUFFER_BYTES };
    let listed = size_of_val(steps) + steps.len() * size_of::<FileResult>();
    // While the call runs, and as what waits for the commit afterwards.
    let wanted = listed + head_bytes + 2 * bytes.len() + buffer;
    let is_modest = |step: &FileStep| {
        matches!(
            step,
            FileStep::Read { .. }
                | FileStep::Stat { .. }
                | FileStep::List { .. }
                | FileStep::Commit { .. }
                | FileStep::Reset { .. }
        )
    };
    if wanted <= SMALL_CALL && steps.iter().all(is_modest) {
        Ok(share.hold(wanted))
    } else {
        share.claim(wanted)
    }
}

/// Does something with an open tree, behind what it has to do already.
fn enqueue(
    connection: &Rc<Connection>,
    call: u64,
    timed: Timed,
    number: u64,
    job: Job,
    held: Held,
) -> Result<(), Failure> {
    let idle = {
        let mut trees = connection.trees.0.borrow_mut();
        let tree = trees.get_mut(&number).ok_or_else(|| {
            Failure::new(
                Class::NotFound,
                format!("working tree {number} is not open on this connection"),
            )
        })?;
        tree.waiting.push_back((call, job, held));
        tree.files.take()
    };
    connection.began(call, timed);
    // Without the tree somebody works with it, and goes on with this.
    if let Some(files) = idle {
        let task = Rc::clone(connection);
        connection.local.spawn(async move {
            task.gate.has_turn(timed.began);
            work(task, number, files).await;
        });
    }
    Ok(())
}

/// Carries out steps.
pub fn steps(
    connection: &Rc<Connection>,
    call: u64,
    timed: Timed,
    number: u64,
    steps: Vec<FileStep>,
    bytes: Bytes,
    held: Held,
) -> Result<(), Failure> {
    enqueue(connection, call, timed, number, Job::Steps(steps, bytes), held)
}

/// Makes a branch and a tree on it that begins with the changes of this one. Its number is that of the call.
pub fn fork(
    connection: &Rc<Connection>,
    call: u64,
    timed: Timed,
    number: u64,
    branch: ByteString,
) -> Result<(), Failure> {
    let held = connection
        .share
        .claim(connection.trees.bytes(number).max(TREE_BYTES))?;
    connection.trees.claim(call, &connection.tally)?;
    let queued = enqueue(connection, call, timed, number, Job::Fork(branch), held);
    if queued.is_err() {
        connection.trees.forget(call);
    }
    queued
}

/// Drops a tree and what it has not committed.
pub fn close(connection: &Rc<Connection>, call: u64, timed: Timed, number: u64) -> Result<(), Failure> {
    let held = connection.share.hold(0);
    enqueue(connection, call, timed, number, Job::Close, held)
}

/// Refuses a call and those behind it on the same tree: they were asked for in the belief that this one would be done. Closing
/// the tree is not refused.
fn refuse_all(connection: &Connection, number: u64, first: (u64, Job, Held), busy: &Failure) {
    let mut refused = vec![first];
    if let Some(tree) = connection.trees.0.borrow_mut().get_mut(&number) {
        let (closes, others) = std::mem::take(&mut tree.waiting)
            .into_iter()
            .partition(|(_, job, _)| matches!(job, Job::Close));
        tree.waiting = closes;
        refused.extend::<VecDeque<_>>(others);
    }
    for (call, job, held) in refused {
        drop(held);
        if let Job::Fork(_) = job {
            connection.trees.forget(call);
        }
        connection.fail(call, busy);
    }
}

/// Does what waits for one tree, then puts it back.
async fn work(connection: Rc<Connection>, number: u64, mut files: Files) {
    loop {
        let next = {
            let mut trees = connection.trees.0.borrow_mut();
            let Some(tree) = trees.get_mut(&number) else {
                // The connection has ended.
                return;
            };
            match tree.waiting.pop_front() {
                Some(next) => next,
                None => {
                    tree.files = Some(files);
                    return;
                }
            }
        };
        let mut pass = None;
        if let Some(lane) = next.1.lane() {
            pass = match connection.gate.enter(connection.number, lane).await {
                Ok(pass) => Some(pass),
                Err(busy) => {
                    refuse_all(&connection, number, next, &busy);
                    continue;
                }
            };
        }
        if !connection.is_wanted(next.0) {
            return;
        }
        match next {
            (call, Job::Steps(steps, bytes), held) => {
                let mut read = Vec::new();
                let written = 2 * bytes.len() as u64;
                let results = files.run(&steps, bytes, &mut read, &held).await;
                drop(pass);
                // It is the tree's now.
                held.give_back(written);
                if let Some(keep_bytes) = connection.share.shortage() {
                    files.release(keep_bytes);
                }
                connection.trees.count(number, &files);
                for mut piece in read {
                    while !piece.is_empty() {
                        if !connection.outbox.room().await {
                            return;
                        }
                        let bytes = piece.split_to(piece.len().min(BODY_BYTES_MAX));
                        let frame = Frame::new(Kind::Output, call, Bytes::new()).with_body(bytes);
                        connection.outbox.push([frame]);
                    }
                }
                // Given back first: whoever has the answer finds that there is room.
                drop(held);
                connection.answer(call, &Answer::Stepped { results });
            }
            (call, Job::Fork(branch), held) => match files.fork(&branch).await {
                Ok(forked) => {
                    let opened = forked.opened();
                    connection.trees.opened(call, forked, held);
                    connection.answer(call, &Answer::Opened { tree: call, opened });
                }
                Err(error) => {
                    connection.trees.forget(call);
                    connection.fail(call, &error.into());
                }
            },
            (call, Job::Close, _) => {
                let closed = connection.trees.0.borrow_mut().remove(&number);
                let late = closed.map(|tree| tree.waiting).unwrap_or_default();
                drop(files);
                connection.answer(call, &Answer::Closed);
                for (call, ..) in late {
                    connection.trees.forget(call);
                    let closed = format!("working tree {number} was closed by a call before this one");
                    connection.fail(call, &Failure::new(Class::NotFound, closed));
                }
                return;
            }
        }
    }
}

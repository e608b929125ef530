//! The heart of one reactor: its tasks, its ready queue, one turn of its loop, its end.
//!
//! Lives on one thread (`Rc`, `RefCell`); only [`Shared`] is touched by others. Both forms of the runtime run it:
//! `thread` calls [`Core::turn`] until the end of the program, `driver` calls it step by step.
//!
//! Invariants:
//! - No borrow is held while foreign code runs (a task's poll or drop, a waker, a buffer's way home).
//! - Every task that has not ended has a place in `tasks`, so the end of the reactor can drop each future here, on
//!   the thread it belongs to.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use async_task::{Builder, Task};

use crate::device::{Device, Queue};

use super::clock::Clock;
use super::io::Io;
use super::local::Local;
use super::shared::{Remote, Runnable, Shared};
use super::slab::{Slab, SlabKey};
use super::sockets::Sockets;
use super::timer::Timers;

/// Items taken from the remote queue per turn, so that a flood of them cannot starve the device.
const REMOTE_PER_TURN: usize = 256;

pub(super) struct Core {
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Clock,
    pub(super) device: Arc<dyn Device>,
    pub(super) ready: RefCell<VecDeque<Runnable>>,
    pub(super) timers: RefCell<Timers>,
    pub(super) io: RefCell<Io>,
    pub(super) sockets: RefCell<Sockets>,
    /// `None` while a cancelled task waits to be dropped.
    tasks: RefCell<Slab<Option<Task<(), SlabKey>>>>,
    /// No task starts and no command is taken any more.
    ended: Cell<bool>,
}

impl Core {
    pub(super) fn new(
        shared: Arc<Shared>,
        clock: Clock,
        device: Arc<dyn Device>,
        queue: Box<dyn Queue>,
    ) -> Rc<Core> {
        Rc::new(Core {
            shared,
            clock,
            device,
            ready: RefCell::default(),
            timers: RefCell::default(),
            io: RefCell::new(Io::new(queue)),
            sockets: RefCell::new(Sockets::new()),
            tasks: RefCell::new(Slab::new()),
            ended: Cell::new(false),
        })
    }

    /// Starts a task; after the end its future is dropped unpolled.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        if self.ended.get() {
            return;
        }
        self.shared.counters.own.tasks_started.add(1);
        let shared = Arc::clone(&self.shared);
        let mut runnable = None;
        self.tasks.borrow_mut().insert_with(|key| {
            let schedule = move |runnable| shared.schedule(runnable);
            let (first, task) = Builder::new()
                .metadata(key)
                .spawn_local(move |_| future, schedule);
            runnable = Some(first);
            Some(task)
        });
        self.ready.borrow_mut().extend(runnable);
    }

    /// Tasks that have not ended.
    pub(super) fn tasks_alive(&self) -> usize {
        self.tasks.borrow().len()
    }

    /// True once the reactor takes no more work.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// One turn: accept remote work, poll at most `budget` ready tasks, reap the device, look at sockets, fire timers. True if there
    /// was anything to do.
    pub(super) fn turn(self: &Rc<Self>, budget: usize) -> bool {
        self.shared.counters.own.turns.add(1);
        // Not short-circuiting: every source gets its share each turn.
        self.accept() | self.run_ready(budget) | self.poll_device() | self.poll_sockets() | self.fire_timers()
    }

    fn accept(self: &Rc<Self>) -> bool {
        for taken in 0..REMOTE_PER_TURN {
            match self.shared.pop() {
                Some(Remote::Run(runnable)) => self.ready.borrow_mut().push_back(runnable),
                Some(Remote::Start(start)) => {
                    let local = Local::new(Rc::clone(self));
                    self.catch(|| start(local));
                }
                Some(Remote::Wake(receiving)) => receiving.grant(),
                None => return taken > 0,
            }
        }
        true
    }

    fn run_ready(&self, budget: usize) -> bool {
        // Tasks woken by these runs wait for the next turn, so that yielding tasks leave the device its share.
        let count = self.ready.borrow().len().min(budget);
        for _ in 0..count {
            let next = self.ready.borrow_mut().pop_front();
            let Some(runnable) = next else { break };
            self.run(runnable);
        }
        count > 0
    }

    fn run(&self, runnable: Runnable) {
        self.shared.counters.own.polls.add(1);
        let key = *runnable.metadata();
        self.catch(|| {
            runnable.run();
        });
        let mut tasks = self.tasks.borrow_mut();
        let ended = match tasks.get_mut(key) {
            Some(Some(task)) => task.is_finished(),
            Some(None) => true,
            None => false,
        };
        if ended {
            let task = tasks.remove(key);
            drop(tasks);
            drop(task);
            self.shared.counters.own.tasks_ended.add(1);
        }
    }

    /// A panic ends its task only: the future is dropped, whoever waits for it is told, the runtime remembers it.
    pub(super) fn catch(&self, run: impl FnOnce()) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
            self.shared.fail(payload);
        }
    }

    fn fire_timers(&self) -> bool {
        if self.timers.borrow().next_deadline().is_none() {
            return false;
        }
        let now = self.clock.now();
        let mut fired = 0;
        loop {
            let due = self.timers.borrow_mut().pop_due(now);
            let Some(waker) = due else { break };
            waker.wake();
            fired += 1;
        }
        self.shared.counters.own.timers.add(fired);
        fired > 0
    }

    /// The end: drops every task on this thread, waits for the commands in flight (their buffers belong to the
    /// device until then), refuses all later work. The reactor must be entered.
    pub(super) fn close(&self) {
        self.ended.set(true);
        self.cancel_tasks();
        self.drain_device();
        self.shared.set_closed();
    }

    fn cancel_tasks(&self) {
        let keys = self.tasks.borrow().keys();
        for key in keys {
            let task = self.tasks.borrow_mut().get_mut(key).and_then(Option::take);
            // Dropping the handle cancels: the task comes through a queue once more, and running it drops its future.
            drop(task);
        }
        while self.tasks_alive() > 0 {
            let next = self.ready.borrow_mut().pop_front();
            if let Some(runnable) = next {
                self.run(runnable);
                continue;
            }
            match self.shared.pop() {
                Some(Remote::Run(runnable)) => self.run(runnable),
                Some(Remote::Start(start)) => self.catch(|| drop(start)),
                Some(Remote::Wake(_)) => {}
                // Another thread has claimed the wake-up of a task and is about to push it.
                None => std::thread::yield_now(),
            }
        }
    }
}

//! What holds in both forms, then what is special to each.

mod driver;
mod handshake;
mod mailbox;
mod messages;
mod readers;
mod sockets;
mod started;
mod threads;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Config, Local, ReactorId, Runtime, oneshot};
use crate::device::Device;
use crate::device::sim::SimDevice;
use crate::limits::UNIT_BYTES;

const CAPACITY: u64 = 64 << 20;

fn device(seed: u64) -> Arc<dyn Device> {
    SimDevice::new(seed, CAPACITY)
}

fn config(reactors: usize, seed: u64) -> Config {
    Config {
        reactors,
        pin: false,
        seed,
        queue_depth: 8,
        ..Config::default()
    }
}

fn threads(reactors: usize) -> Runtime {
    Runtime::threads(device(1), &config(reactors, 1)).expect("threads start")
}

fn driver(reactors: usize, seed: u64) -> Runtime {
    Runtime::driver(device(seed), &config(reactors, seed)).expect("a driver starts")
}

/// Runs the test on both forms.
fn both(test: impl Fn(&Runtime)) {
    let runtime = driver(3, 7);
    test(&runtime);
    runtime.shutdown();
    let runtime = threads(3);
    test(&runtime);
    runtime.shutdown();
}

/// Runs `task` on a reactor and gives its result.
fn run<T: Send + 'static, F: Future<Output = T> + 'static>(
    runtime: &Runtime,
    reactor: usize,
    task: impl FnOnce(Local) -> F + Send + 'static,
) -> Option<T> {
    let (answer, result) = oneshot();
    runtime.handles()[reactor].spawn(move |local| {
        let future = task(local);
        async move {
            let _ = answer.send(future.await);
        }
    });
    runtime.block_on(result)
}

/// Goal: a task runs on the reactor it was sent to and sees it as current.
/// Method: ask each reactor who it is, from a task and from a task spawned by that task.
#[test]
fn tasks_run_where_they_are_sent() {
    both(|runtime| {
        for (index, handle) in runtime.handles().iter().enumerate() {
            assert!(!handle.is_current());
            let seen = run(runtime, index, |local| async move {
                let (answer, result) = oneshot();
                let inner = local.clone();
                local.spawn(async move {
                    inner.yield_now().await;
                    let current = Local::current().expect("a task runs on a reactor");
                    assert!(current.handle().is_current());
                    let _ = answer.send(current.id());
                });
                (local.id(), result.await)
            });
            assert_eq!(seen, Some((ReactorId(index), Some(ReactorId(index)))));
        }
    });
}

/// Goal: what is written is read back; commands beyond the queue's depth wait and complete.
/// Method: start ten times the depth of writes at once, then read all of them.
#[test]
fn many_commands_complete_through_a_short_queue() {
    both(|runtime| {
        let sums = run(runtime, 1, |local| async move {
            let mut writes = Vec::new();
            for index in 0..80u8 {
                let mut buffer = local.buffer(UNIT_BYTES).expect("memory");
                buffer.fill(index);
                let offset = u64::from(index) * UNIT_BYTES as u64;
                writes.push(local.write(offset, buffer, 0..UNIT_BYTES, index % 2 == 0));
            }
            for write in writes {
                write.await.1.expect("writes succeed");
            }
            local.flush().await.expect("flushes succeed");
            let mut right = 0;
            for index in 0..80u8 {
                let buffer = local.buffer(2 * UNIT_BYTES).expect("memory");
                let offset = u64::from(index) * UNIT_BYTES as u64;
                let (buffer, outcome) = local.read(offset, buffer, UNIT_BYTES..2 * UNIT_BYTES).await;
                outcome.expect("reads succeed");
                right += usize::from(buffer[UNIT_BYTES..].iter().all(|&byte| byte == index));
                assert!(
                    buffer[..UNIT_BYTES].iter().all(|&byte| byte == 0),
                    "only the range is filled"
                );
            }
            right
        });
        assert_eq!(sums, Some(80));
        let counters = runtime.handles()[1].counters();
        assert_eq!((counters.io_submitted, counters.io_completed), (161, 161));
        assert!(counters.io_backlogged >= 72);
    });
}

/// Goal: dropping a command in flight is safe and does not stop it.
/// Method: start writes (more than fit the queue) and drop their futures unpolled, polled once, or done; a read
/// issued until it sees the data finds all of them.
#[test]
fn dropped_futures_leave_their_commands_running() {
    both(|runtime| {
        let right = run(runtime, 0, |local| async move {
            for index in 0..20u8 {
                let mut buffer = local.buffer(UNIT_BYTES).expect("memory");
                buffer.fill(index + 1);
                let write = local.write(u64::from(index) * UNIT_BYTES as u64, buffer, 0..UNIT_BYTES, false);
                if index % 2 == 0 {
                    let task = local.clone();
                    local.spawn(async move {
                        // Polled once, then dropped by the end of the race.
                        let mut write = Box::pin(write);
                        let _ = std::future::poll_fn(|context| {
                            std::task::Poll::Ready(write.as_mut().poll(context).is_ready())
                        })
                        .await;
                        task.yield_now().await;
                    });
                }
            }
            let mut right = 0;
            for index in 0..20u8 {
                loop {
                    let buffer = local.buffer(UNIT_BYTES).expect("memory");
                    let offset = u64::from(index) * UNIT_BYTES as u64;
                    let (buffer, outcome) = local.read(offset, buffer, 0..UNIT_BYTES).await;
                    outcome.expect("reads succeed");
                    if buffer[0] == index + 1 {
                        break;
                    }
                }
                right += 1;
            }
            right
        });
        assert_eq!(right, Some(20));
        let counters = runtime.handles()[0].counters();
        assert_eq!(counters.io_submitted, counters.io_completed);
    });
}

/// Goal: a command that breaks the device's rules is answered with an error and the buffer.
/// Method: one example for each rule.
#[test]
fn commands_outside_the_rules_are_refused() {
    both(|runtime| {
        let refused = run(runtime, 0, |local| async move {
            let unit = UNIT_BYTES;
            let mut kinds = Vec::new();
            for (offset, range) in [
                (1, 0..unit),
                (0, 0..unit + 1),
                (0, 1..unit),
                (0, 0..0),
                (0, unit..9 * unit),
                (CAPACITY, 0..unit),
                (u64::MAX - 4095, 0..unit),
            ] {
                let buffer = local.buffer(2 * unit).expect("memory");
                let (buffer, outcome) = local.read(offset, buffer, range.clone()).await;
                assert_eq!(buffer.len(), 2 * unit);
                kinds.push(outcome.expect_err("it breaks a rule").kind());
                let (_, outcome) = local.write(offset, buffer, range, true).await;
                kinds.push(outcome.expect_err("it breaks a rule").kind());
            }
            kinds.push(
                local
                    .allocate(0, CAPACITY + 4096)
                    .await
                    .expect_err("too long")
                    .kind(),
            );
            kinds.push(local.discard(512, 4096).await.expect_err("not a unit").kind());
            kinds
        });
        let refused = refused.expect("an answer");
        assert_eq!(refused, vec![std::io::ErrorKind::InvalidInput; 16]);
    });
}

/// Goal: timers fire in the order of their deadlines, never early, and a dropped sleep leaves nothing behind.
/// Method: three sleepers started in the wrong order, next to a long one that is dropped.
#[test]
fn timers_fire_in_order() {
    both(|runtime| {
        let order = run(runtime, 0, |local| async move {
            let fired = Rc::new(std::cell::RefCell::new(Vec::new()));
            let (done, all) = oneshot();
            let mut done = Some(done);
            for delay in [30u64, 10, 20] {
                let (local, fired) = (local.clone(), Rc::clone(&fired));
                let done = done.take_if(|_| delay == 30);
                let started = local.clock().now();
                local.clone().spawn(async move {
                    local.sleep(Duration::from_millis(delay)).await;
                    assert!(local.clock().now().since(started) >= Duration::from_millis(delay));
                    fired.borrow_mut().push(delay);
                    let _ = done.map(|done| done.send(()));
                });
            }
            let mut long = Box::pin(local.sleep(Duration::from_secs(3600)));
            std::future::poll_fn(|context| {
                assert!(long.as_mut().poll(context).is_pending());
                std::task::Poll::Ready(())
            })
            .await;
            drop(long);
            all.await.expect("the longest sleeper answers");
            fired.take()
        });
        assert_eq!(order, Some(vec![10, 20, 30]));
        assert!(runtime.clock().now().0 < 3_600_000_000_000);
    });
}

/// Counts how many were dropped, and where.
struct Guard {
    dropped: Arc<AtomicUsize>,
    thread: std::thread::ThreadId,
}

impl Drop for Guard {
    fn drop(&mut self) {
        assert_eq!(
            self.thread,
            std::thread::current().id(),
            "dropped on its own thread"
        );
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

/// Goal: shutdown drops every task on its own thread, whatever it waits for, and lets commands in flight finish.
/// Method: tasks that wait for I/O, for a timer, for each other and for nothing, each with a guard; the guards of
/// tasks also start new tasks and commands while being dropped.
#[test]
fn shutdown_drops_all_tasks() {
    for form in [driver(2, 3), threads(2)] {
        let dropped = Arc::new(AtomicUsize::new(0));
        for reactor in 0..2 {
            let counter = Arc::clone(&dropped);
            run(&form, reactor, move |local| async move {
                let guard = || Guard {
                    dropped: Arc::clone(&counter),
                    thread: std::thread::current().id(),
                };
                let (kept, waited) = oneshot::<()>();
                let (io, timer, other, never) = (guard(), guard(), guard(), guard());
                let task = local.clone();
                local.spawn(async move {
                    let _guard = io;
                    loop {
                        let buffer = task.buffer(4096).expect("memory");
                        let _ = task.write(0, buffer, 0..4096, false).await;
                    }
                });
                let task = local.clone();
                local.spawn(async move {
                    let _guard = timer;
                    task.sleep(Duration::from_secs(3600)).await;
                });
                local.spawn(async move {
                    let _guard = other;
                    waited.await;
                });
                struct Restart(Local, #[allow(dead_code, reason = "kept for its drop")] Guard);
                impl Drop for Restart {
                    fn drop(&mut self) {
                        self.0.spawn(std::future::pending());
                        drop(self.0.flush());
                    }
                }
                let restart = Restart(local.clone(), never);
                local.spawn(async move {
                    let _held = (kept, restart);
                    std::future::pending::<()>().await;
                });
                local.yield_now().await;
            })
            .expect("an answer");
        }
        form.shutdown();
        assert_eq!(dropped.load(Ordering::SeqCst), 8);
        for handle in form.handles() {
            let counters = handle.counters();
            assert_eq!(counters.tasks_started, counters.tasks_ended);
            assert_eq!(counters.io_submitted, counters.io_completed);
        }
        // Work that comes later is dropped, and its sender told.
        let (answer, result) = oneshot::<()>();
        form.handles()[0].spawn(|_| async move {
            let _ = answer.send(());
        });
        assert_eq!(super::block_on(result), None);
        form.shutdown();
    }
}

/// Goal: a panic ends its task alone; whoever waits for it hears of it; the runtime reports it.
/// Method: a task that panics while it holds a oneshot, before the first poll and at the second.
#[test]
fn a_panicking_task_answers_none() {
    let runtime = threads(1);
    let answer: Option<()> = run(&runtime, 0, |_| {
        if Cell::new(true).get() {
            panic!("before the first poll");
        }
        async {}
    });
    assert_eq!(answer, None);
    let answer: Option<()> = run(&runtime, 0, |local| async move {
        local.yield_now().await;
        panic!("at the second poll");
    });
    assert_eq!(answer, None);
    assert_eq!(run(&runtime, 0, |_| async { 5 }), Some(5), "the reactor goes on");
    assert_eq!(runtime.failure().as_deref(), Some("before the first poll"));
    assert_eq!(runtime.handles()[0].counters().panics, 2);
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.shutdown()))
        .expect_err("the panic is handed on");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"before the first poll"));
}

/// Goal: block_on where it could only hang says so instead.
/// Method: call it from a task in both forms.
#[test]
fn block_on_is_refused_on_a_reactor() {
    for form in [driver(1, 1), threads(1)] {
        let message = run(&form, 0, |_| async {
            let panic = std::panic::catch_unwind(|| super::block_on(async {})).expect_err("refused");
            panic.downcast_ref::<String>().cloned()
        });
        let message = message.flatten().expect("a message");
        assert!(message.contains("reactor 0"), "{message}");
    }
}

/// Goal: what cannot run is refused with a reason.
/// Method: one configuration for each rule.
#[test]
fn impossible_configurations_are_refused() {
    for broken in [
        Config {
            reactors: 0,
            ..Config::default()
        },
        Config {
            queue_depth: 0,
            ..Config::default()
        },
        Config {
            cores: Some(Vec::new()),
            ..Config::default()
        },
    ] {
        assert!(matches!(
            Runtime::threads(device(1), &broken),
            Err(crate::Error::Invalid { .. })
        ));
        assert!(matches!(
            Runtime::driver(device(1), &broken),
            Err(crate::Error::Invalid { .. })
        ));
    }
}

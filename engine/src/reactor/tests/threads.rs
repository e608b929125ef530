//! The threaded form: sleeping, waking, and ending.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::{config, device, run, threads};
use crate::reactor::{Config, Handle, Polling, Runtime, Sender, mailbox, oneshot};

/// Long enough that only a lost wake-up takes it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Goal: no wake-up is lost between a reactor's decision to sleep and its sleep.
/// Method: with no spinning at all the reactor goes to sleep after each message, so that every message races with
/// it; pauses of varying length move the race around. The test spins for each answer, since a thread that is woken
/// for it comes too late for the race. (Without the second look at the queue this fails within the first thousand
/// messages.)
#[test]
fn no_wake_up_is_lost() {
    for light_sleep in [Duration::ZERO, Duration::from_secs(600)] {
        let config = Config {
            spin: Duration::ZERO,
            light_sleep,
            ..config(1, 1)
        };
        let runtime = Runtime::threads(device(1), &config).expect("threads start");
        let (sender, mut receiver) = mailbox::<u32>(&runtime.handles()[0], 4);
        let answered = Arc::new(AtomicU32::new(0));
        let answer = Arc::clone(&answered);
        runtime.handles()[0].spawn(move |_| async move {
            while let Some(number) = receiver.recv().await {
                answer.store(number, Ordering::Release);
            }
        });
        for number in 1..=50_000u32 {
            for _ in 0..number % 64 {
                std::hint::spin_loop();
            }
            sender.try_send(number).expect("room");
            let sent = runtime.clock().now();
            while answered.load(Ordering::Acquire) != number {
                std::hint::spin_loop();
                assert!(
                    runtime.clock().now().since(sent) < PATIENCE,
                    "message {number}: a lost wake-up"
                );
            }
        }
        let counters = runtime.handles()[0].counters();
        assert!(counters.sleeps > 0 && counters.doorbells > 0, "{counters:?}");
        runtime.shutdown();
    }
}

/// Goal: tasks woken by several foreign threads at once are all polled, and those threads may outlive the runtime.
/// Method: four threads answer oneshots that many tasks wait for, while the runtime is shut down under them.
#[test]
fn foreign_wakers_race_with_shutdown() {
    for round in 0..200u32 {
        let config = Config {
            spin: Duration::from_micros(u64::from(round % 3)),
            ..config(2, 1)
        };
        let runtime = Runtime::threads(device(1), &config).expect("threads start");
        std::thread::scope(|scope| {
            for index in 0..4usize {
                let handle = runtime.handles()[index % 2].clone();
                scope.spawn(move || {
                    for _ in 0..50 {
                        let (sender, receiver) = oneshot::<u32>();
                        let (done, _ended) = oneshot::<u32>();
                        handle.spawn(move |_| async move {
                            let _ = done.send(receiver.await.unwrap_or(0));
                        });
                        let _ = sender.send(1);
                    }
                });
            }
            for _ in 0..round * 20 {
                std::hint::spin_loop();
            }
            runtime.shutdown();
        });
        for handle in runtime.handles() {
            let counters = handle.counters();
            assert_eq!(counters.tasks_started, counters.tasks_ended, "round {round}");
        }
    }
}

/// Waits until the reactor has most likely gone to sleep: its loop makes no turn for a while. On a busy machine it may
/// only have been interrupted, so tests ask for this to hold most of the time, not always.
fn settle(handle: &Handle) {
    let (_kept, silence) = mpsc::channel::<()>();
    loop {
        let turns = handle.counters().turns;
        let _ = silence.recv_timeout(Duration::from_millis(3));
        if handle.counters().turns == turns {
            return;
        }
    }
}

/// A reactor that never spins, a mailbox of it, and what its task hears there.
fn listener(light_sleep: Duration) -> (Runtime, Sender<u32>, mpsc::Receiver<u32>) {
    let config = Config {
        spin: Duration::ZERO,
        light_sleep,
        ..config(1, 1)
    };
    let runtime = Runtime::threads(device(1), &config).expect("threads start");
    let (sender, mut receiver) = mailbox::<u32>(&runtime.handles()[0], 4);
    let (answers, answered) = mpsc::channel();
    runtime.handles()[0].spawn(move |_| async move {
        while let Some(number) = receiver.recv().await {
            answers.send(number).expect("the test listens");
        }
    });
    (runtime, sender, answered)
}

/// Goal: a lazy message needs no doorbell in the light sleep and is found all the same.
/// Method: light sleeps of 1 ms; a reactor that was just active is sent lazy messages.
#[test]
fn lazy_messages_need_no_doorbell_in_light_sleep() {
    let (runtime, sender, answered) = listener(Duration::from_millis(1));
    for number in 0..300 {
        sender.try_send_lazy(number).expect("room");
        assert_eq!(answered.recv_timeout(PATIENCE), Ok(number), "a lost message");
    }
    let doorbells = runtime.handles()[0].counters().doorbells;
    assert!(doorbells < 150, "{doorbells} doorbells for 300 messages");
    runtime.shutdown();
}

/// Goal: a lazy message wakes a reactor from its deep sleep.
/// Method: a reactor that sleeps deeply only, where a wait without a doorbell would be endless.
#[test]
fn lazy_messages_ring_in_deep_sleep() {
    let (runtime, sender, answered) = listener(Duration::ZERO);
    for number in 0..50 {
        settle(&runtime.handles()[0]);
        sender.try_send_lazy(number).expect("room");
        assert_eq!(answered.recv_timeout(PATIENCE), Ok(number), "a lost wake-up");
    }
    assert!(runtime.handles()[0].counters().doorbells > 0);
    runtime.shutdown();
}

/// Goal: an urgent message is not held up by a lazy one before it.
/// Method: in a light sleep of ten minutes a lazy message is left alone; an urgent one brings both at once.
#[test]
fn an_urgent_message_overtakes_the_light_sleep() {
    let (runtime, sender, answered) = listener(Duration::from_secs(600));
    let mut left_alone = 0;
    for round in 0..50 {
        settle(&runtime.handles()[0]);
        sender.try_send_lazy(2 * round).expect("room");
        let early = answered.recv_timeout(Duration::from_millis(2)).ok();
        left_alone += u32::from(early.is_none());
        sender.try_send(2 * round + 1).expect("room");
        for number in (2 * round..=2 * round + 1).skip(usize::from(early.is_some())) {
            assert_eq!(answered.recv_timeout(PATIENCE), Ok(number), "held up");
        }
    }
    assert!(left_alone > 0, "the lazy messages rang the doorbell");
    runtime.shutdown();
}

/// Goal: an idle reactor does nothing.
/// Method: after some work, watch the turns of its loop in periods of 50 ms (kept by another reactor's timer) until
/// one passes without any; a reactor that never stops spinning has none.
#[test]
fn an_idle_reactor_stands_still() {
    let runtime = threads(2);
    run(&runtime, 0, |local| async move { local.flush().await })
        .expect("an answer")
        .expect("flushes succeed");
    let handle = runtime.handles()[0].clone();
    let stood_still = run(&runtime, 1, |local| async move {
        for _ in 0..200 {
            let before = handle.counters();
            local.sleep(Duration::from_millis(50)).await;
            let after = handle.counters();
            if before.turns == after.turns && before.sleeps == after.sleeps {
                return true;
            }
        }
        false
    });
    assert_eq!(stood_still, Some(true));
    runtime.shutdown();
}

/// Goal: the last clone of a runtime may be dropped by one of its own tasks.
/// Method: a task holds it; when the task ends, its oneshot tells, and nothing hangs.
#[test]
fn a_task_may_drop_the_runtime() {
    let runtime = threads(2);
    let handle = runtime.handles()[0].clone();
    let (answer, result) = oneshot();
    handle.clone().spawn(move |_| async move {
        drop(runtime);
        let _ = answer.send(());
    });
    assert_eq!(crate::reactor::block_on(result), Some(()));
}

/// Goal: pinning happens where it is asked for and is reported.
/// Method: pin to the first core the process may use.
#[test]
fn reactors_are_pinned() {
    let Some(cores) = core_affinity::get_core_ids() else {
        return;
    };
    let first = cores[0].id;
    let config = Config {
        pin: true,
        cores: Some(vec![first]),
        ..config(2, 1)
    };
    let runtime = Runtime::threads(device(1), &config).expect("threads start");
    for (index, handle) in runtime.handles().iter().enumerate() {
        assert_eq!(handle.core(), Some(first));
        let seen = run(&runtime, index, |_| async {
            core_affinity::get_core_ids().map(|cores| cores.len())
        });
        assert_eq!(seen, Some(Some(1)));
    }
    runtime.shutdown();
    assert_eq!(threads(1).handles()[0].core(), None);
}

/// Goal: a reactor that is to poll without end never sleeps, and still hears, waits and ends; one that may sleep does.
/// Method: messages with pauses in which the other kind falls asleep; timers; shutting down.
#[test]
fn busy_reactors_never_sleep() {
    for (polling, sleeps) in [(Polling::Busy, false), (Polling::Adaptive, true)] {
        let config = Config {
            polling,
            light_sleep: Duration::from_millis(1),
            ..config(1, 1)
        };
        let runtime = Runtime::threads(device(1), &config).expect("threads start");
        let (sender, mut receiver) = mailbox::<u32>(&runtime.handles()[0], 4);
        let (answers, answered) = mpsc::channel();
        runtime.handles()[0].spawn(move |local| async move {
            while let Some(number) = receiver.recv().await {
                local.sleep(Duration::from_micros(200)).await;
                answers.send(number).expect("the test listens");
            }
        });
        let (_kept, silence) = mpsc::channel::<()>();
        for number in 0..20 {
            let _ = silence.recv_timeout(Duration::from_millis(2));
            sender.try_send(number).expect("room");
            assert_eq!(answered.recv_timeout(PATIENCE), Ok(number), "a lost message");
        }
        assert_eq!(runtime.handles()[0].counters().sleeps > 0, sleeps, "{polling:?}");
        runtime.shutdown();
    }
}

/// Goal: a thread that waits again and again with the same waker is woken for each, also for one inside another, and by
/// nobody's late wake-up too early. Method: wakers of earlier waits are kept and rung from a reactor while later ones wait for
/// answers, every third from within another wait's poll.
#[test]
fn one_thread_waits_many_times() {
    let runtime = threads(1);
    let late = Arc::new(parking_lot::Mutex::new(Vec::<std::task::Waker>::new()));
    let wait = |number: u32| {
        let (answer, outcome) = oneshot::<u32>();
        let rung = Arc::clone(&late);
        runtime.handles()[0].spawn(move |_| async move {
            rung.lock().iter().for_each(std::task::Waker::wake_by_ref);
            answer.send(number).expect("the thread waits");
        });
        let keep = std::future::poll_fn(|context| {
            let mut late = late.lock();
            late.truncate(7);
            late.insert(0, context.waker().clone());
            std::task::Poll::Ready(())
        });
        runtime.block_on(async {
            keep.await;
            outcome.await
        })
    };
    for number in 0..20_000 {
        if number % 3 == 0 {
            let inside = runtime.block_on(async { wait(number) });
            assert_eq!(inside, Some(number));
        }
        assert_eq!(wait(number), Some(number));
    }
    runtime.shutdown();
}

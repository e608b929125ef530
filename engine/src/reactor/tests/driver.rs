//! The driven form: determinism, virtual time, and what it refuses.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{driver, run};
use crate::reactor::{mailbox, oneshot};

/// What happens in one run: tasks on three reactors that sleep, write and talk to each other.
fn trace(seed: u64) -> Vec<String> {
    let runtime = driver(3, seed);
    let trace = Arc::new(Mutex::new(Vec::new()));
    let (hub, mut inbox) = mailbox::<(usize, u64)>(&runtime.handles()[0], 2);
    for reactor in 0..3 {
        let (hub, trace) = (hub.clone(), Arc::clone(&trace));
        runtime.handles()[reactor].spawn(move |local| async move {
            for step in 0..10u64 {
                let buffer = local.buffer(4096).expect("memory");
                let offset = (reactor as u64 * 10 + step) * 4096;
                let _ = local.write(offset, buffer, 0..4096, false).await;
                trace
                    .lock()
                    .push(format!("{reactor} wrote {step} at {}", local.clock().now().0));
                local.sleep(Duration::from_micros(step * 7)).await;
                hub.send((reactor, step)).await.expect("the hub listens");
            }
        });
    }
    drop(hub);
    let seen = Arc::clone(&trace);
    run(&runtime, 0, move |local| async move {
        while let Some((reactor, step)) = inbox.recv().await {
            seen.lock()
                .push(format!("heard {reactor} {step} at {}", local.clock().now().0));
        }
    })
    .expect("the hub ends");
    runtime.shutdown();
    Arc::into_inner(trace).expect("all tasks are gone").into_inner()
}

/// Goal: the seed decides everything.
/// Method: the same seed twice gives the same trace; among ten seeds nearly all traces differ.
#[test]
fn the_same_seed_gives_the_same_run() {
    let mut traces = Vec::new();
    for seed in 0..10 {
        let first = trace(seed);
        assert_eq!(first.len(), 60, "seed {seed}");
        assert_eq!(first, trace(seed), "seed {seed}");
        traces.push(first);
    }
    traces.sort();
    traces.dedup();
    assert!(traces.len() >= 9, "only {} different runs", traces.len());
}

/// Goal: virtual time costs no real time and stands still for nobody.
/// Method: sleep a year; then wait for a point in time by yielding only.
#[test]
fn time_is_virtual() {
    let runtime = driver(2, 5);
    let year = Duration::from_secs(365 * 24 * 3600);
    let woke = run(&runtime, 1, move |local| async move {
        local.sleep(year).await;
        let until = local.clock().now().after(Duration::from_micros(100));
        while local.clock().now() < until {
            local.yield_now().await;
        }
        local.clock().now()
    });
    let elapsed = woke.expect("an answer").since(Default::default());
    assert!(
        elapsed >= year && elapsed < year + Duration::from_millis(1),
        "{elapsed:?}"
    );
    assert!(runtime.clock().is_virtual());
}

/// Goal: a run that cannot go on says so.
/// Method: wait for a message that nobody sends.
#[test]
fn a_deadlock_panics() {
    let runtime = driver(2, 5);
    let (kept, never) = oneshot::<()>();
    let panic = catch_unwind(AssertUnwindSafe(|| {
        run(&runtime, 1, move |_| async move {
            never.await;
        })
    }));
    let panic = panic.expect_err("it cannot end");
    let message = panic.downcast_ref::<String>().expect("a message");
    assert!(
        message.contains("deadlock") && message.contains("1 on reactor 1"),
        "{message}"
    );
    drop(kept);
    // The runtime can still be used and shut down.
    assert_eq!(run(&runtime, 0, |_| async { 1 }), Some(1));
    runtime.shutdown();
}

/// Goal: a panic of a task comes out of block_on as it was.
/// Method: panic on another reactor than the awaited one.
#[test]
fn a_panic_ends_the_run() {
    let runtime = driver(2, 5);
    runtime.handles()[1].spawn(|_| async { std::panic::panic_any(17u8) });
    let panic = catch_unwind(AssertUnwindSafe(|| {
        run(&runtime, 0, |local| async move {
            local.sleep(Duration::from_secs(1)).await
        })
    }));
    assert_eq!(panic.expect_err("resumed").downcast_ref::<u8>(), Some(&17));
    runtime.shutdown();
}

/// Goal: a driver is used by its own thread, once at a time, and a plain block_on finds it.
/// Method: nested, from another thread, after shutdown, with two drivers, and plain.
#[test]
fn misuse_is_refused() {
    let message = |call: &mut dyn FnMut()| -> String {
        let panic = catch_unwind(AssertUnwindSafe(call)).expect_err("refused");
        match panic.downcast::<&str>() {
            Ok(text) => (*text).to_owned(),
            Err(panic) => *panic.downcast::<String>().expect("a message"),
        }
    };
    let runtime = driver(1, 5);
    let inner = runtime.clone();
    let nested = message(&mut || runtime.block_on(async { inner.block_on(async {}) }));
    assert!(nested.contains("within block_on"), "{nested}");
    let ending = message(&mut || runtime.block_on(async { inner.shutdown() }));
    assert!(ending.contains("shutdown within"), "{ending}");
    let elsewhere = std::thread::scope(|scope| {
        let thread = scope.spawn(|| runtime.block_on(async {}));
        thread.join().expect_err("refused")
    });
    assert!(
        elsewhere
            .downcast_ref::<&str>()
            .expect("a message")
            .contains("thread that made it")
    );

    let (answer, result) = oneshot();
    runtime.handles()[0].spawn(|_| async move {
        let _ = answer.send(3);
    });
    assert_eq!(
        crate::reactor::block_on(result),
        Some(3),
        "the only driver of the thread is stepped"
    );
    let second = driver(1, 6);
    let ambiguous = message(&mut || crate::reactor::block_on(async {}));
    assert!(ambiguous.contains("several"), "{ambiguous}");
    second.shutdown();
    runtime.shutdown();
    let after = message(&mut || runtime.block_on(async {}));
    assert!(after.contains("after its shutdown"), "{after}");
}

/// Goal: a runtime whose last clone goes while it runs ends after the run.
/// Method: drop it inside the awaited future and look for the task's end.
#[test]
fn the_last_clone_may_go_while_it_runs() {
    let runtime = driver(1, 5);
    let (kept, gone) = oneshot::<()>();
    runtime.handles()[0].spawn(move |_| async move {
        let _kept = kept;
        std::future::pending::<()>().await;
    });
    let id_only = runtime.clone();
    id_only.block_on(async move { drop(runtime) });
    drop(id_only);
    assert_eq!(crate::reactor::block_on(gone), None);
}

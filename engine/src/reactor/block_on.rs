//! Runs a future to its end on the calling thread: spins for a bounded time, then parks.
//!
//! A durable commit takes about 120 us on a fast disk and parking costs 47 us more, so spinning pays when the answer
//! comes soon. How long is learnt per thread (`spin`).
//!
//! On a thread that owns a driver, the driver's reactors are stepped instead: nobody else would run them.

use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use super::clock::Clock;
use super::spin::Spin;
use super::{current, driver};

/// Longest spin.
const SPIN_MAX: Duration = Duration::from_micros(250);
/// Pauses between two looks at the clock, each of which also lets another thread of this core run.
const PAUSES_PER_LOOK: u32 = 32;

struct Parker {
    thread: Thread,
    woken: AtomicBool,
}

impl Parker {
    fn take(&self) -> bool {
        // A load first: the spinning thread must not keep the line to itself.
        self.woken.load(Ordering::Relaxed) && self.woken.swap(false, Ordering::Acquire)
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Release);
        // No system call unless the thread is parked.
        self.thread.unpark();
    }
}

/// What a thread waits with.
struct Waiter {
    parker: Arc<Parker>,
    waker: Waker,
}

impl Waiter {
    fn new() -> Waiter {
        let parker = Arc::new(Parker {
            thread: std::thread::current(),
            woken: AtomicBool::new(false),
        });
        let waker = Waker::from(Arc::clone(&parker));
        Waiter { parker, waker }
    }
}

thread_local! {
    static SPIN: Cell<Spin> = const { Cell::new(Spin::new(SPIN_MAX)) };
    /// Kept from one call to the next, because many futures are ready at once: a waker that somebody still holds makes a
    /// later future look up once in vain.
    static WAITER: Cell<Option<Waiter>> = const { Cell::new(None) };
}

/// Runs `future` to its end on the calling thread.
///
/// # Panics
/// On a reactor's thread: it would stop the reactor that the future waits for. Await there instead.
pub fn block_on<F: Future>(future: F) -> F::Output {
    refuse_on_reactor();
    let future = pin!(future);
    match driver::of_this_thread() {
        Some(driver) => driver::block_on(driver, future),
        None => park_on(future),
    }
}

/// Panics when the thread is running a reactor.
pub(super) fn refuse_on_reactor() {
    if let Some(id) = current::current_id() {
        panic!("block_on was called on reactor {id}, which would stop it; await the future instead");
    }
}

/// The form for threads beside running reactors.
pub(super) fn park_on<F: Future>(mut future: Pin<&mut F>) -> F::Output {
    // A thread at its end has none left, a call within another's poll finds it taken.
    let kept = WAITER.try_with(Cell::take).ok().flatten();
    let waiter = kept.unwrap_or_else(Waiter::new);
    let mut context = Context::from_waker(&waiter.waker);
    let output = loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            break output;
        }
        wait(&waiter.parker);
    };
    let _ = WAITER.try_with(|kept| kept.set(Some(waiter)));
    output
}

fn wait(parker: &Parker) {
    let clock = Clock::real();
    // A thread at its end has lost what it learnt.
    let mut spin = SPIN.try_with(Cell::get).unwrap_or(Spin::new(SPIN_MAX));
    let mut pauses = 0u32;
    while !parker.take() {
        pauses += 1;
        std::hint::spin_loop();
        if !pauses.is_multiple_of(PAUSES_PER_LOOK) {
            continue;
        }
        let waited = Duration::from_nanos(clock.now().0);
        if waited >= spin.limit() {
            while !parker.take() {
                std::thread::park();
            }
            break;
        }
        std::thread::yield_now();
    }
    let waited = Duration::from_nanos(clock.now().0);
    spin.learn(waited);
    let _ = SPIN.try_with(|learnt| learnt.set(spin));
}

//! The driven form: all reactors on the calling thread, in seeded order and virtual time.
//!
//! A round steps every reactor once, in an order and with a task budget drawn from the seed. Rounds that find work
//! cost a little virtual time; when none finds any, time jumps to the next timer or device completion; when there
//! is neither, the run is stuck, and a panic says so instead of hanging the test. Tasks of one reactor run in the
//! order they became ready, as on a thread.
//!
//! A panic of a task ends the run: `block_on` resumes it.
//!
//! The reactors belong to one thread, while a [`Runtime`](super::Runtime) may be sent around: they live in a
//! thread-local table, and a runtime used on another thread is refused. Devices without virtual time work, but what
//! happens between submission and completion is then up to the system.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use crate::device::sim::Random;

use super::clock::{Clock, Nanos};
use super::current;
use super::executor::Core;
use super::shared::Payload;

/// Virtual cost of a round that found work.
const ROUND: Duration = Duration::from_micros(1);
/// Most tasks of one reactor polled in one round.
const BUDGET_MAX: u64 = 16;
/// How long to wait at once for a device without virtual time.
const REAL_WAIT: Duration = Duration::from_millis(1);

/// Names a driver of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DriverId(u64);

pub(super) struct Driver {
    pub(super) cores: Vec<Rc<Core>>,
    pub(super) clock: Clock,
    pub(super) random: Random,
    pub(super) failure: Arc<Mutex<Option<Payload>>>,
}

struct Entry {
    id: DriverId,
    /// `None` while `block_on` has it.
    driver: Option<Driver>,
}

thread_local! {
    static DRIVERS: RefCell<Vec<Entry>> = const { RefCell::new(Vec::new()) };
}

/// Gives the driver to this thread.
pub(super) fn install(driver: Driver) -> DriverId {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let id = DriverId(NEXT.fetch_add(1, Ordering::Relaxed));
    DRIVERS.with_borrow_mut(|drivers| {
        drivers.push(Entry {
            id,
            driver: Some(driver),
        })
    });
    id
}

/// The driver a plain `block_on` steps: this thread's only one.
pub(super) fn of_this_thread() -> Option<DriverId> {
    DRIVERS.with_borrow(|drivers| match drivers.as_slice() {
        [] => None,
        [entry] => Some(entry.id),
        _ => panic!("this thread drives several runtimes; use Runtime::block_on of the one that is meant"),
    })
}

/// True while `block_on` steps the driver on this thread.
pub(super) fn is_running(id: DriverId) -> bool {
    DRIVERS.with_borrow(|drivers| {
        drivers
            .iter()
            .any(|entry| entry.id == id && entry.driver.is_none())
    })
}

/// Ends the driver's reactors. False when it cannot be done now: another thread owns it, or it is running.
pub(super) fn close(id: DriverId) -> bool {
    let taken = DRIVERS.try_with(|drivers| {
        let mut drivers = drivers.borrow_mut();
        let place = drivers
            .iter()
            .position(|entry| entry.id == id && entry.driver.is_some())?;
        Some(drivers.remove(place))
    });
    // Closing runs the destructors of tasks, which may look at the table.
    matches!(taken, Ok(Some(_)))
}

impl Drop for Driver {
    fn drop(&mut self) {
        // All stop before any is dismantled, so that no reactor's end restarts another.
        for core in &self.cores {
            core.shared.close();
        }
        for core in &self.cores {
            let _entered = current::enter(core);
            core.close();
        }
    }
}

/// The driver while `block_on` runs it; goes back into the table, or ends if that was asked for meanwhile.
struct Lent {
    id: DriverId,
    driver: Option<Driver>,
}

impl Lent {
    fn take(id: DriverId) -> Lent {
        let driver = DRIVERS.with_borrow_mut(|drivers| {
            let Some(entry) = drivers.iter_mut().find(|entry| entry.id == id) else {
                panic!("a driven runtime is used on the thread that made it, and not after its shutdown");
            };
            entry.driver.take()
        });
        assert!(
            driver.is_some(),
            "block_on within block_on: the reactors are being stepped already"
        );
        Lent { id, driver }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let driver = self.driver.take();
        let closing = driver
            .as_ref()
            .is_some_and(|driver| driver.cores.iter().any(|core| core.shared.is_closing()));
        let ended = DRIVERS.try_with(|drivers| {
            let mut drivers = drivers.borrow_mut();
            if closing {
                drivers.retain(|entry| entry.id != self.id);
                return driver;
            }
            if let Some(entry) = drivers.iter_mut().find(|entry| entry.id == self.id) {
                entry.driver = driver;
            }
            None
        });
        drop(ended);
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// Runs `future` to its end by stepping the reactors.
pub(super) fn block_on<F: Future>(id: DriverId, mut future: Pin<&mut F>) -> F::Output {
    let mut lent = Lent::take(id);
    let driver = lent.driver.as_mut().expect("taken above");
    let flag = Arc::new(Flag(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&flag));
    let mut context = Context::from_waker(&waker);
    loop {
        if flag.0.swap(false, Ordering::Acquire)
            && let Poll::Ready(output) = future.as_mut().poll(&mut context)
        {
            return output;
        }
        let worked = driver.round();
        if !worked && !flag.0.load(Ordering::Acquire) {
            driver.pass_time();
        }
    }
}

impl Driver {
    /// Steps every reactor once. True if any had work.
    fn round(&mut self) -> bool {
        let mut order: Vec<usize> = (0..self.cores.len()).collect();
        self.random.shuffle(&mut order);
        let mut worked = false;
        for index in order {
            let budget = 1 + self.random.below(BUDGET_MAX);
            let core = &self.cores[index];
            let entered = current::enter(core);
            worked |= core.turn(usize::try_from(budget).unwrap_or(1));
            drop(entered);
            self.resume_panic();
        }
        if worked {
            self.clock.advance_to(self.clock.now().after(ROUND));
        }
        worked
    }

    fn resume_panic(&self) {
        let failure = self.failure.lock().take();
        if let Some(payload) = failure {
            std::panic::resume_unwind(payload);
        }
    }

    /// Nothing is runnable: lets time pass until something is.
    fn pass_time(&self) {
        let outside_time = |core: &&Rc<Core>| {
            let io = core.io.borrow();
            io.in_flight() > 0 && io.next_completion().is_none()
        };
        if let Some(core) = self.cores.iter().find(outside_time) {
            core.wait_device(Some(REAL_WAIT));
            return;
        }
        let next: Option<Nanos> = self
            .cores
            .iter()
            .flat_map(|core| {
                [
                    core.timers.borrow().next_deadline(),
                    core.io.borrow().next_completion(),
                ]
            })
            .flatten()
            .min();
        let Some(next) = next else { self.stuck() };
        self.clock.advance_to(next);
    }

    fn stuck(&self) -> ! {
        let tasks: Vec<String> = self
            .cores
            .iter()
            .map(|core| format!("{} on reactor {}", core.tasks_alive(), core.shared.id))
            .collect();
        panic!(
            "deadlock at {} ns of virtual time: the awaited future cannot end; nothing is runnable, no timer is set, \
             no command is in flight; waiting tasks: {}",
            self.clock.now().0,
            tasks.join(", ")
        );
    }
}

//! The threaded form: one thread per reactor that spins, then sleeps.
//!
//! Work that follows soon on work, and completions of a fast device, cost no wake-up: the loop goes on polling for as long
//! as that has paid lately (`spin`), at most for `Config::spin`, or [`SPIN_LONGER`] times that while commands are in
//! flight. Then it sleeps: lightly at first, in pieces of `Config::light_sleep`, so that lazy senders need no system call
//! while the store is in use; deeply after [`LIGHT_FOR`] without activity, when it costs no CPU at all.
//!
//! With [`Polling::Busy`] it never sleeps.

use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::device::Device;

use super::clock::{Clock, Nanos};
use super::config::{Config, Polling};
use super::current;
use super::doze::Depth;
use super::executor::Core;
use super::shared::Shared;
use super::spin::Spin;

/// Light sleeping goes on for this long after the last activity.
const LIGHT_FOR: Duration = Duration::from_millis(100);
/// Spinning may take this much longer while commands are in flight: a wake-up from the kernel costs about as much as a
/// fast device's whole command.
const SPIN_LONGER: u32 = 4;
/// Turns between two looks at the clock while spinning.
const TURNS_PER_LOOK: u32 = 8;

/// What a reactor's thread is made with.
pub(super) struct Seat {
    pub(super) shared: Arc<Shared>,
    pub(super) device: Arc<dyn Device>,
    pub(super) clock: Clock,
    /// Core to pin to.
    pub(super) pin_to: Option<usize>,
    pub(super) config: Config,
}

/// Starts the thread; it reports through `started` whether it has its queue.
pub(super) fn start(seat: Seat, started: Sender<std::io::Result<()>>) -> std::io::Result<JoinHandle<()>> {
    let name = format!("helios-{}", seat.shared.id);
    std::thread::Builder::new()
        .name(name)
        .spawn(move || run(seat, &started))
}

fn run(seat: Seat, started: &Sender<std::io::Result<()>>) {
    if let Some(id) = seat.pin_to {
        if core_affinity::set_for_current(core_affinity::CoreId { id }) {
            seat.shared.set_core(id);
        } else {
            tracing::warn!(core = id, "the reactor could not be pinned to its core");
        }
    }
    // Sleeps of some microseconds would otherwise take 50 more. Where it is refused they do.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let queue = match seat.device.open_queue(seat.config.queue_depth) {
        Ok(queue) => queue,
        Err(error) => {
            seat.shared.set_closed();
            // The starter waits for every answer.
            let _ = started.send(Err(error));
            return;
        }
    };
    let core = Core::new(
        Arc::clone(&seat.shared),
        seat.clock.clone(),
        Arc::clone(&seat.device),
        queue,
    );
    let _entered = current::enter(&core);
    let _ = started.send(Ok(()));
    guard(&core, || poll_loop(&core, &seat.config));
    guard(&core, || core.close());
    core.shared.set_closed();
}

/// Panics of tasks are caught where they run; one that arrives here comes from the device or the reactor itself, and
/// ends the reactor in an orderly way.
fn guard(core: &Rc<Core>, run: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
        core.shared.fail(payload);
    }
}

fn poll_loop(core: &Rc<Core>, config: &Config) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // With a caller beside the reactors, some core has two threads that spin.
    let scarce = cores <= config.reactors;
    let counters = &core.shared.counters.own;
    let mut seen = core.clock.now();
    let mut active = seen;
    let mut idle_turns = 0u32;
    // What the loop waits for in a pause, and what it has learnt of such pauses.
    let (mut for_work, mut for_device) = (Spin::new(config.spin), Spin::new(config.spin * SPIN_LONGER));
    let mut in_flight = false;
    while !core.shared.is_closing() {
        if core.turn(usize::MAX) {
            let now = core.clock.now();
            counters
                .busy_ns
                .add(u64::try_from(now.since(seen).as_nanos()).unwrap_or(0));
            if idle_turns > 0 {
                let spin = if in_flight { &mut for_device } else { &mut for_work };
                spin.learn(now.since(active));
            }
            (seen, active, idle_turns) = (now, now, 0);
            continue;
        }
        if idle_turns == 0 {
            in_flight = core.io.borrow().in_flight() > 0;
        }
        idle_turns = idle_turns.wrapping_add(1);
        std::hint::spin_loop();
        if !idle_turns.is_multiple_of(TURNS_PER_LOOK) {
            continue;
        }
        if scarce {
            std::thread::yield_now();
        }
        seen = core.clock.now();
        let spin = if in_flight { for_device } else { for_work };
        if config.polling == Polling::Adaptive && seen.since(active) >= spin.limit() {
            sleep(core, config, seen, active);
            seen = core.clock.now();
        }
    }
}

/// Sleeps until a completion, a doorbell or the next timer; see `doze`.
fn sleep(core: &Rc<Core>, config: &Config, now: Nanos, active: Nanos) {
    let light = now.since(active) < LIGHT_FOR && !config.light_sleep.is_zero();
    let timer = core
        .timers
        .borrow()
        .next_deadline()
        .map(|deadline| deadline.since(now));
    let timeout = if light {
        Some(timer.unwrap_or(config.light_sleep).min(config.light_sleep))
    } else {
        timer
    };
    if timeout.is_some_and(|timeout| timeout.is_zero()) {
        return;
    }
    let shared = &core.shared;
    shared
        .doze
        .announce(if light { Depth::Light } else { Depth::Deep });
    let quiet = !shared.has_remote() && !shared.is_closing();
    if quiet {
        shared.counters.own.sleeps.add(1);
        core.wait_device(timeout);
    }
    let claimed = shared.doze.wake_up();
    if claimed {
        shared.counters.own.wakeups.add(1);
    }
    if quiet || claimed {
        shared.doorbell.clear();
    }
}

//! How long a device may take, and the clock that tells.
//!
//! Owns the proportions: a command is aborted after the bound, its controller is reset after half as long again and may
//! be away for two bounds, and only after all of that is a command given up.

use std::time::{Duration, Instant};

/// A bound below this would abort commands of healthy devices.
const SHORTEST: Duration = Duration::from_millis(100);

/// How long things may take, all derived from the bound for one command.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    command: Duration,
}

impl Bounds {
    /// All of them, from that for one command.
    pub(super) fn new(command: Duration) -> Bounds {
        Bounds {
            command: command.max(SHORTEST),
        }
    }

    /// To connect, or to be greeted.
    pub(super) fn greeting(self) -> Duration {
        self.command.min(Duration::from_secs(5))
    }

    /// For a controller to come back.
    pub(super) fn absence(self) -> Duration {
        self.command * 2
    }

    /// For an order to the control thread, which may be busy with the above.
    pub(super) fn order(self) -> Duration {
        self.command * 6
    }

    /// For a command before it is aborted.
    pub(super) fn abort(self) -> Duration {
        self.command
    }

    /// For a command before its controller is reset.
    pub(super) fn reset(self) -> Duration {
        self.command + self.command / 2
    }

    /// For a command before it is answered without the device. More than everything else it may have to wait for.
    pub(super) fn give_up(self) -> Duration {
        self.command * 5
    }
}

/// The time, for bounds of real devices.
#[allow(
    clippy::disallowed_methods,
    reason = "a real device hangs in real time; simulated ones do not come here"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a command is given up only when everything that could still end it has had its time. Method: the sums.
    #[test]
    fn bounds_leave_time_for_each_other() {
        for command in [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(15)] {
            let bounds = Bounds::new(command);
            assert!(bounds.abort() < bounds.reset() && bounds.greeting() <= bounds.abort());
            // A last attempt to bring the controller back may begin just before the time for that is over.
            let back = bounds.reset() + bounds.absence() + bounds.greeting();
            assert!(back < bounds.give_up() && bounds.give_up() < bounds.order());
        }
    }
}

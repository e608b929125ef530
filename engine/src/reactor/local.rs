//! A reactor as its own tasks see it.

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::device::{Device, DmaBuffer, Operation};
use crate::error::{Error, Result};

use super::clock::Clock;
use super::current;
use super::executor::Core;
use super::handle::{Handle, ReactorId};
use super::io::{Answer, Plain, Transfer};
use super::timer::Sleep;

/// The reactor a task runs on. Never leaves its thread.
///
/// Device commands start when called, not when awaited; offsets, lengths and the start of a range are whole units.
#[derive(Clone)]
pub struct Local(Rc<Core>);

impl Local {
    pub(super) fn new(core: Rc<Core>) -> Local {
        Local(core)
    }

    pub(super) fn core(&self) -> &Rc<Core> {
        &self.0
    }

    /// The reactor the current task runs on, if the caller is on one.
    pub fn current() -> Option<Local> {
        current::current().map(Local)
    }

    /// True if the caller is on a reactor.
    pub fn is_any() -> bool {
        current::current_id().is_some()
    }

    /// The reactor as other threads see it.
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.0.shared))
    }

    /// Which reactor this is.
    pub fn id(&self) -> ReactorId {
        self.0.shared.id
    }

    /// The runtime's clock.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// The device all reactors share.
    pub fn device(&self) -> &Arc<dyn Device> {
        &self.0.device
    }

    /// Ends `duration` after the call.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        Sleep::new(Rc::clone(&self.0), self.0.clock.now().after(duration))
    }

    /// Lets the other ready tasks, the device and the timers have a turn.
    pub fn yield_now(&self) -> YieldNow {
        YieldNow::default()
    }

    /// Starts another task on this reactor.
    pub fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.0.spawn(future);
    }

    /// A zeroed buffer of at least `len` bytes, of the kind the device moves fastest.
    pub fn buffer(&self, len: usize) -> Result<DmaBuffer> {
        let buffer = self.0.io.borrow_mut().queue().buffer(len);
        buffer.map_err(|source| Error::Device {
            device: self.0.device.name().to_owned(),
            operation: "allocate a buffer",
            offset: 0,
            source,
        })
    }

    /// Fills `buffer[range]` from `offset`.
    pub fn read(&self, offset: u64, buffer: DmaBuffer, range: Range<usize>) -> Transfer {
        self.0.read(offset, buffer, range)
    }

    /// Reads `len` bytes from `offset` into a buffer of its own for a [`Reader`](super::Reader), without a task here: for
    /// callers that must stay `Send`, or wait elsewhere.
    pub fn read_for(&self, offset: u64, len: usize, answer: Answer) {
        match self.buffer(len) {
            Ok(buffer) => self.0.start_read_for(offset, buffer, 0..len, answer),
            Err(error) => answer.tell_alone(Err(io::Error::other(error))),
        }
    }

    /// Writes `buffer[range]` at `offset`; `durable` makes success mean "survives power loss".
    pub fn write(&self, offset: u64, buffer: DmaBuffer, range: Range<usize>, durable: bool) -> Transfer {
        self.0.write(offset, buffer, range, durable)
    }

    /// Makes every completed write durable.
    pub fn flush(&self) -> Plain {
        Plain(self.0.start(Operation::Flush))
    }

    /// Gives a range back to the device.
    pub fn discard(&self, offset: u64, len: u64) -> Plain {
        Plain(self.0.start(Operation::Discard { offset, len }))
    }

    /// Writes zeroes.
    pub fn write_zeroes(&self, offset: u64, len: u64) -> Plain {
        Plain(self.0.start(Operation::WriteZeroes { offset, len }))
    }

    /// Guarantees space for later writes to the range.
    pub fn allocate(&self, offset: u64, len: u64) -> Plain {
        Plain(self.0.start(Operation::Allocate { offset, len }))
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Local({})", self.id())
    }
}

/// Ends at its second poll, which the tasks that are ready now precede.
#[derive(Default)]
#[must_use = "yields only when awaited"]
pub struct YieldNow {
    yielded: bool,
}

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

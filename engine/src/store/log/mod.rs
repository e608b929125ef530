//! The log of one reactor: batches go in on any thread, frames come out on the reactor's device queue.
//!
//! A batch gets its sequence, its visibility in the index and its root changes in one short critical section
//! ([`Log::append`]); no thread is waited for. The writer task ([`writer`]) turns queued batches into frames, keeps
//! several in flight, and acknowledges strictly in order.
//! Invariant: sequences in a log have no gaps, and the queue holds them in order.
//! Rejected: a lock-free queue with a reorder buffer; sequence, index and roots must change together anyway.

mod cut;
mod frame;
mod latch;
mod open_segment;
mod writer;

pub(super) use frame::cost_of;
pub(super) use open_segment::OpenSegment;
pub(super) use writer::{LogEnd, Writer, footer, write_bytes};

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Poll, Waker};

use parking_lot::Mutex;

use self::cut::CutRequest;
use super::pending::PendingBatch;
use super::room::{Exhausted, Room};
use super::segments::SegmentUse;
use crate::error::{Error, Result};
use crate::format::LogId;
use crate::format::root_record::RootRecord;
use crate::reactor::{Handle, Nanos, mailbox, oneshot};

/// A batch that has its place in a log and waits for its frame.
pub(super) struct Queued {
    /// Its extents; their slot is emptied when they are durable.
    pub batch: Arc<PendingBatch>,
    /// What became of the roots that it changed.
    pub records: Vec<RootRecord>,
    /// Sequences of other logs that must be durable first.
    pub depends_on: Vec<(LogId, u64)>,
    /// Room it was admitted with, in bytes.
    pub cost: u64,
    /// It moves a branch.
    pub is_commit: bool,
    /// When it became visible.
    pub since: Nanos,
}

/// The receiving ends of a log's bells; they belong to its writer.
pub(super) struct Bells {
    urgent: mailbox::Receiver<()>,
    lazy: mailbox::Receiver<()>,
}

struct Intake {
    next: u64,
    queue: VecDeque<Queued>,
    closed: bool,
    /// Sum of the costs of what waits for a frame, here and with the writer.
    waiting_cost: u64,
    /// The writer comes by itself soon: no bell for a batch that can wait as well.
    expected: bool,
    /// It is rung before that when so much waits.
    enough: u64,
}

/// Waiting batches of this cost are written without further delay, as one frame or several, unless the device is busy with
/// frames of the log already: then they gather.
const EAGER_BYTES: u64 = 256 << 10;

/// The part of a log that all threads share.
pub(super) struct Log {
    /// Its number.
    pub id: LogId,
    /// The reactor that writes it.
    pub handle: Handle,
    /// Space for further batches.
    pub room: Room,
    intake: Mutex<Intake>,
    /// Two bells: a lazy ring that waits in its mailbox must never stand in the way of an urgent one.
    bell: mailbox::Sender<()>,
    lazy_bell: mailbox::Sender<()>,
    /// Highest sequence that somebody waits for.
    urgent: AtomicU64,
    acknowledged: AtomicU64,
    /// Highest sequence given out, for those who may not take the intake's lock.
    given: AtomicU64,
    cut: Mutex<Option<CutRequest>>,
    /// A segment to go on in, for a log that had none.
    offered: Mutex<Option<SegmentUse>>,
    /// Its head frame waits for another log.
    waits_for_others: AtomicBool,
    waiters: Mutex<Vec<(u64, Waker)>>,
    fence: Mutex<Option<Arc<str>>>,
    is_fenced: AtomicBool,
    device: String,
}

impl Log {
    /// A log that goes on with sequence `next`. The bells belong to its writer.
    pub fn new(id: LogId, handle: Handle, next: u64, device: String) -> (Log, Bells) {
        let (bell, urgent) = mailbox::mailbox(&handle, 1);
        let (lazy_bell, lazy) = mailbox::mailbox(&handle, 1);
        let log = Log {
            id,
            handle,
            room: Room::default(),
            intake: Mutex::new(Intake {
                next,
                queue: VecDeque::new(),
                closed: false,
                waiting_cost: 0,
                expected: false,
                enough: EAGER_BYTES,
            }),
            bell,
            lazy_bell,
            urgent: AtomicU64::new(0),
            acknowledged: AtomicU64::new(next - 1),
            given: AtomicU64::new(next - 1),
            cut: Mutex::default(),
            offered: Mutex::default(),
            waits_for_others: AtomicBool::new(false),
            waiters: Mutex::default(),
            fence: Mutex::default(),
            is_fenced: AtomicBool::new(false),
            device,
        };
        (log, Bells { urgent, lazy })
    }

    /// Gives the next sequence to a batch: `place` makes it visible under it and returns what the writer needs. The
    /// writer learns of it when its delay is over or enough has gathered; it is woken from a deep sleep only.
    pub fn append<T>(&self, place: impl FnOnce(u64) -> (Queued, T)) -> Result<(u64, T)> {
        let mut intake = self.intake.lock();
        if intake.closed {
            return Err(Error::Closed);
        }
        self.check_fence()?;
        let sequence = intake.next;
        let (queued, outcome) = place(sequence);
        intake.next += 1;
        self.given.store(sequence, Ordering::Release);
        let before = intake.waiting_cost;
        intake.waiting_cost += queued.cost;
        intake.queue.push_back(queued);
        let enough = before < intake.enough && intake.waiting_cost >= intake.enough;
        let ring = enough || !intake.expected;
        drop(intake);
        if ring {
            let _ = self.lazy_bell.try_send_lazy(());
        }
        Ok((sequence, outcome))
    }

    /// The writer goes to rest with this cost still waiting for frames; `expected` if it has set itself a timer, to be woken
    /// before it by `enough` that waits. False if it must not, because a batch has come since it looked.
    fn rest(&self, waiting_cost: u64, expected: bool, enough: u64) -> bool {
        let mut intake = self.intake.lock();
        intake.waiting_cost = waiting_cost;
        intake.expected = expected;
        intake.enough = enough;
        intake.queue.is_empty()
    }

    /// Wakes the writer now.
    pub fn hurry(&self) {
        // A full bell is ringing already.
        let _ = self.bell.try_send(());
    }

    /// Writes up to `sequence` as soon as possible.
    pub fn hurry_to(&self, sequence: u64) {
        self.urgent.fetch_max(sequence, Ordering::AcqRel);
        self.hurry();
    }

    /// Rings if the head frame waits for another log.
    pub fn ring_if_waiting(&self) {
        if self.waits_for_others.swap(false, Ordering::SeqCst) {
            self.hurry();
        }
    }

    fn take_queue(&self, into: &mut VecDeque<Queued>) {
        into.append(&mut self.intake.lock().queue);
    }

    /// Refuses further batches.
    pub fn close(&self) {
        self.intake.lock().closed = true;
        self.hurry();
    }

    /// Asks for the place in the log after `sequence` (and after everything that is visible already). The caller holds
    /// the root table, so that no root changes before the writer knows.
    pub fn request_cut(&self, sequence: u64) -> oneshot::Receiver<LogEnd> {
        let (answer, receiver) = oneshot::oneshot();
        let at = sequence.max(self.given.load(Ordering::Acquire));
        *self.cut.lock() = Some(CutRequest { at, answer });
        // A log may be fenced because its writer is gone; then it is here that the request ends.
        if self.is_fenced.load(Ordering::Acquire) {
            self.refuse_cut();
        }
        self.hurry_to(at);
        receiver
    }

    /// Drops a request for a cut, which tells whoever asked.
    fn refuse_cut(&self) {
        let request = self.cut.lock().take();
        drop(request);
    }

    /// Gives a log without a next segment one. A durable checkpoint names it.
    pub fn offer(&self, at: SegmentUse) {
        *self.offered.lock() = Some(at);
        self.room.hope();
        self.hurry();
    }

    fn is_closed(&self) -> bool {
        self.intake.lock().closed
    }

    /// Highest sequence given out.
    pub fn last(&self) -> u64 {
        self.intake.lock().next - 1
    }

    /// Highest sequence that is durable together with all before it and all it depends on.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Acquire)
    }

    /// Completes when `sequence` is acknowledged, and hurries the writer.
    pub async fn durable(&self, sequence: u64) -> Result<()> {
        if self.acknowledged() >= sequence {
            return Ok(());
        }
        self.hurry_to(sequence);
        poll_fn(|context| {
            if self.acknowledged() >= sequence {
                return Poll::Ready(Ok(()));
            }
            if let Err(error) = self.check_fence() {
                return Poll::Ready(Err(error));
            }
            {
                let mut waiters = self.waiters.lock();
                waiters.retain(|(wanted, waker)| *wanted != sequence || !waker.will_wake(context.waker()));
                waiters.push((sequence, context.waker().clone()));
            }
            // The writer publishes before it takes the waiters: look once more after joining them.
            if self.acknowledged() >= sequence || self.is_fenced.load(Ordering::Acquire) {
                context.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await
    }

    fn acknowledge(&self, sequence: u64) {
        self.acknowledged.store(sequence, Ordering::Release);
        self.wake_waiters(|wanted| wanted <= sequence);
    }

    fn wake_waiters(&self, which: impl Fn(u64) -> bool) {
        let mut ready = Vec::new();
        self.waiters.lock().retain(|(wanted, waker)| {
            let wake = which(*wanted);
            if wake {
                ready.push(waker.clone());
            }
            !wake
        });
        ready.into_iter().for_each(Waker::wake);
    }

    /// Ends the log: nothing further is acknowledged, everyone who waits is told.
    pub fn fence(&self, reason: &str) {
        self.fence.lock().get_or_insert_with(|| Arc::from(reason));
        self.is_fenced.store(true, Ordering::Release);
        self.wake_waiters(|_| true);
        self.room.exhaust(Exhausted::Fenced);
        // Its writer may be at rest and owe an answer.
        self.hurry();
    }

    /// Why it was fenced, if it was.
    pub fn fenced(&self) -> Option<Arc<str>> {
        if self.is_fenced.load(Ordering::Acquire) {
            self.fence.lock().clone()
        } else {
            None
        }
    }

    fn check_fence(&self) -> Result<()> {
        match self.fenced() {
            None => Ok(()),
            Some(reason) => Err(Error::Fenced {
                device: self.device.clone(),
                reason: reason.to_string(),
            }),
        }
    }
}

//! The writer task of one log: frames out, acknowledgements in order, segments attached ahead of need.
//!
//! Invariants:
//! - A frame is acknowledged only when it is durable, every earlier frame of the log is acknowledged, and every
//!   sequence in its dependency vector is acknowledged.
//! - Every frame names the segment where the log goes on, so replay can follow without a table.
//! - What a failed write leaves in doubt is never acknowledged there: it is written anew elsewhere ([`anew`]).
//! - A segment is sealed when its last frame is acknowledged, so no footer ever lists what is in doubt.

mod anew;
mod segments;
mod settle;

pub(in crate::store) use segments::{footer, write_bytes};

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::time::Duration;

use zerocopy::little_endian::{U16, U32, U64};

use super::cut::Cut;
use super::frame::{Plan, blank_header};
use super::latch::Latch;
use super::open_segment::OpenSegment;
use super::{Bells, EAGER_BYTES, Log, Queued};
use crate::canary::{self, Canary};
use crate::format::frame::{Descriptor, NO_SEGMENT};
use crate::format::{LogId, SegmentId};
use crate::limits::{EXTENT_BYTES_MAX, FRAME_BYTES_MAX, UNIT_BYTES};
use crate::reactor::Local;
use crate::store::segments::SegmentUse;
use crate::store::shared::Shared;

/// Visible data is written within this time, asked or not.
const VISIBLE_DELAY: Duration = Duration::from_millis(5);
/// How many frames tell how long frames are of late.
const FRAMES_OF_LATE: u64 = 8;
/// Frames in flight at once. A long one into new space of a file is durable after 3 to 5 ms, a journal and two kernel threads
/// beside the threads that cut and hash: a content of 1 GiB goes in at 1.19 GiB/s with 6 and 1.31 with 10 (medians of 8, in
/// turns), and frames of small contents are no fewer or slower.
const FRAMES_IN_FLIGHT_MAX: usize = 10;
/// While so many bytes of frames are on their way to the device, what nobody waits for gathers to full frames. Each frame costs
/// the device its durability: in new space of a file 1.1 GB/s are written in frames of 256 KiB, 2.0 in frames of 1 MiB.
const BUSY_BYTES: u64 = 512 << 10;
/// What waits when a frame is full.
const FULL_BYTES: u64 = EXTENT_BYTES_MAX as u64;

/// Where a log stands after its last frame.
#[derive(Clone)]
pub(in crate::store) struct LogEnd {
    pub log: LogId,
    pub current: Option<OpenSegment>,
    pub next: Option<SegmentUse>,
    pub predecessor: u32,
    pub next_sequence: u64,
}

enum Event {
    Written(u64, std::io::Result<()>),
    Attached(SegmentUse, std::io::Result<()>),
    Zeroed(SegmentId),
    Sealed(SegmentId, std::io::Result<()>),
}

#[derive(Default)]
struct Events {
    queue: VecDeque<Event>,
    waker: Option<Waker>,
}

#[derive(Clone, Default)]
struct EventQueue(Rc<RefCell<Events>>);

impl EventQueue {
    fn push(&self, event: Event) {
        let mut events = self.0.borrow_mut();
        events.queue.push_back(event);
        if let Some(waker) = events.waker.take() {
            waker.wake();
        }
    }

    fn pop(&self) -> Option<Event> {
        self.0.borrow_mut().queue.pop_front()
    }

    fn poll(&self, waker: &Waker) -> Poll<()> {
        let mut events = self.0.borrow_mut();
        if !events.queue.is_empty() {
            return Poll::Ready(());
        }
        events.waker = Some(waker.clone());
        Poll::Pending
    }
}

/// What is known of a frame's write.
enum Outcome {
    Writing,
    Durable,
    /// Whether any of it is on the device is unknown.
    Failed(std::io::Error),
}

struct InFlight {
    number: u64,
    bytes: u64,
    first: u64,
    last: u64,
    dependencies: Vec<(LogId, u64)>,
    /// Checksum of the frame before it.
    predecessor: u32,
    outcome: Outcome,
    segment: SegmentId,
    unit: u32,
    batches: Vec<Queued>,
    descriptors: Vec<Descriptor>,
}

/// The segment where the log goes on: its number is in the frames before it is ready to take any.
struct Next {
    at: SegmentUse,
    /// Once its space is claimed and its header written.
    ready: Option<OpenSegment>,
}

/// The task that owns the writing end of a log.
pub(in crate::store) struct Writer {
    shared: Arc<Shared>,
    log: Arc<Log>,
    local: Local,
    bells: Bells,
    queue: VecDeque<Queued>,
    planned: Option<Plan>,
    current: Option<OpenSegment>,
    next: Option<Next>,
    predecessor: u32,
    in_flight: VecDeque<InFlight>,
    frames: u64,
    events: EventQueue,
    /// Last sequence in a frame.
    started: u64,
    /// Full segments in which frames are not acknowledged yet.
    full: VecDeque<OpenSegment>,
    /// Segments that are full and whose footers are not written.
    sealing: BTreeSet<SegmentId>,
    cut: Option<Cut>,
    attaching: bool,
    /// Failed writes since the last acknowledged frame.
    failures_in_row: u32,
    /// A write has failed before: more room was used than was admitted.
    wrote_anew: bool,
    /// Something durable names the next segment: replay finds it even if no further frame gets into this one.
    next_is_named: bool,
    zeroing: Latch,
    /// Bytes of a frame, by the last few.
    frame_bytes: u64,
    /// Footers, headers and zeroes under way.
    background: usize,
}

impl Writer {
    /// A writer that goes on where `end` says.
    pub fn new(shared: Arc<Shared>, log: Arc<Log>, local: Local, bells: Bells, end: LogEnd) -> Writer {
        if let Some(open) = &end.current {
            let left = i64::try_from(open.left_bytes()).expect("below 2 GiB");
            log.room.go_on(left - FRAME_BYTES_MAX as i64);
        }
        Writer {
            shared,
            log,
            local,
            bells,
            queue: VecDeque::new(),
            planned: None,
            current: end.current,
            next: end.next.map(|at| Next { at, ready: None }),
            predecessor: end.predecessor,
            in_flight: VecDeque::new(),
            frames: 0,
            events: EventQueue::default(),
            started: end.next_sequence - 1,
            full: VecDeque::new(),
            sealing: BTreeSet::new(),
            cut: None,
            attaching: false,
            failures_in_row: 0,
            wrote_anew: false,
            next_is_named: true,
            zeroing: Latch::default(),
            frame_bytes: 0,
            background: 0,
        }
    }

    /// Runs until the log is closed and everything in it is acknowledged, or until it is fenced and closed.
    pub async fn run(mut self) -> LogEnd {
        loop {
            self.log.take_queue(&mut self.queue);
            // After the queue: whatever it holds came before the request, or must not join what did.
            self.take_requests();
            self.handle_events();
            self.acknowledge();
            self.seal_full();
            if self.log.fenced().is_none() {
                self.write_anew();
                self.start_frames();
                self.answer_cut();
                self.attach_segments();
                self.zero_ahead();
            } else {
                self.queue.clear();
                self.planned = None;
                self.cut = None;
                self.full.clear();
            }
            if self.log.is_closed() && self.is_quiet() {
                self.log.take_queue(&mut self.queue);
                if self.queue.is_empty() {
                    assert!(
                        self.log.fenced().is_some() || self.started == self.log.last(),
                        "a log closes with everything in frames"
                    );
                    return self.end();
                }
            }
            self.wait().await;
        }
    }

    /// Where the log goes on after the frames started so far.
    fn end(&self) -> LogEnd {
        LogEnd {
            log: self.log.id,
            current: self.current.clone(),
            next: self.next.as_ref().map(|next| next.at),
            predecessor: self.predecessor,
            next_sequence: self.started + 1,
        }
    }

    fn take_requests(&mut self) {
        let offered = self.log.offered.lock().take();
        if let Some(at) = offered {
            assert!(self.next.is_none(), "a log with a next segment was offered one");
            self.next = Some(Next { at, ready: None });
            self.next_is_named = true;
        }
        let request = self.log.cut.lock().take();
        if let Some(request) = request {
            self.cut = Some(Cut {
                request,
                end: None,
                sealing: BTreeSet::new(),
            });
            self.mark_cut();
        }
    }

    /// Notes the place of the cut as soon as every batch before it is in a frame.
    fn mark_cut(&mut self) {
        let passed = |cut: &Cut| cut.end.is_none() && cut.request.at <= self.started;
        if self.cut.as_ref().is_some_and(passed) {
            let (end, sealing) = (self.end(), self.sealing.clone());
            let cut = self.cut.as_mut().expect("looked at above");
            cut.end = Some(end);
            cut.sealing = sealing;
        }
    }

    fn answer_cut(&mut self) {
        let acknowledged = self.log.acknowledged();
        if let Some(cut) = self.cut.take_if(|cut| cut.is_ready(acknowledged)) {
            let end = cut.end.expect("a cut that is ready has its place");
            // Whoever asked may have gone.
            let _ = cut.request.answer.send(end);
        }
    }

    fn is_quiet(&self) -> bool {
        let fenced = self.log.fenced().is_some();
        let framed = self.queue.is_empty() && self.planned.is_none();
        let written = framed && self.in_flight.is_empty() && self.full.is_empty();
        (written || fenced) && self.background == 0
    }

    async fn wait(&mut self) {
        let due = match self.queue.front() {
            Some(front) if self.may_start() && self.planned.is_none() => {
                let age = self.local.clock().now().since(front.since);
                Some(VISIBLE_DELAY.saturating_sub(age))
            }
            _ => None,
        };
        if !self.log.rest(self.waiting_cost(), due.is_some(), self.enough()) {
            return;
        }
        let events = self.events.clone();
        let mut urgent = pin!(self.bells.urgent.recv());
        let mut lazy = pin!(self.bells.lazy.recv());
        let mut timer = pin!(due.map(|delay| self.local.sleep(delay)));
        poll_fn(|context| {
            let hurried = urgent.as_mut().poll(context).is_ready();
            let nudged = lazy.as_mut().poll(context).is_ready();
            let happened = events.poll(context.waker()).is_ready();
            let late = timer
                .as_mut()
                .as_pin_mut()
                .is_some_and(|timer| timer.poll(context).is_ready());
            if hurried || nudged || happened || late {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    fn handle_events(&mut self) {
        while let Some(event) = self.events.pop() {
            match event {
                Event::Written(number, result) => {
                    let frame = self.in_flight.iter_mut().find(|frame| frame.number == number);
                    let frame = frame.expect("a frame stays in flight until acknowledged or written anew");
                    frame.outcome = match result {
                        Ok(()) => Outcome::Durable,
                        Err(_) if canary::is(Canary::IgnoredFailure) => Outcome::Durable,
                        Err(error) => Outcome::Failed(error),
                    };
                }
                Event::Attached(at, result) => self.attached(at, result),
                Event::Zeroed(segment) => {
                    self.background -= 1;
                    let next = self.next.as_mut().and_then(|next| next.ready.as_mut());
                    let mut open = self.current.iter_mut().chain(next);
                    if let Some(open) = open.find(|open| open.id() == segment) {
                        open.zeroed();
                    }
                }
                Event::Sealed(segment, result) => {
                    self.background -= 1;
                    self.sealing.remove(&segment);
                    if let Some(cut) = &mut self.cut {
                        cut.sealing.remove(&segment);
                    }
                    if let Err(error) = result {
                        self.shared.fence_all(&format!("writing a footer: {error}"));
                    }
                }
            }
        }
    }

    fn acknowledge(&mut self) {
        let mut advanced = false;
        while let Some(front) = self.in_flight.front() {
            if !matches!(front.outcome, Outcome::Durable) {
                break;
            }
            let unmet = |(log, sequence): &(LogId, u64)| self.shared.acknowledged(*log) < *sequence;
            if front.dependencies.iter().any(unmet) {
                // Announced before the second look, so that the other log rings if it gets there in between.
                self.log.waits_for_others.store(true, Ordering::SeqCst);
                if front.dependencies.iter().any(unmet) {
                    break;
                }
            }
            let frame = self.in_flight.pop_front().expect("looked at above");
            self.log.acknowledge(frame.last);
            self.failures_in_row = 0;
            self.next_is_named |= self
                .current
                .as_ref()
                .is_some_and(|open| open.id() == frame.segment);
            advanced = true;
            self.settle(frame);
        }
        if advanced {
            self.shared.ring_waiting_logs(self.log.id);
        }
    }

    fn waiting_cost(&self) -> u64 {
        self.queue.iter().map(|queued| queued.cost).sum()
    }

    fn is_due(&self) -> bool {
        let Some(front) = self.queue.front() else {
            return false;
        };
        let urgent = self.log.urgent.load(Ordering::Acquire) >= front.batch.sequence;
        let old = self.local.clock().now().since(front.since) >= VISIBLE_DELAY;
        urgent || old || self.log.is_closed() || self.waiting_cost() >= self.enough()
    }

    /// How much has to wait for a frame that nobody waits for.
    fn enough(&self) -> u64 {
        let writing = |frame: &&InFlight| matches!(frame.outcome, Outcome::Writing);
        let busy: u64 = self
            .in_flight
            .iter()
            .filter(writing)
            .map(|frame| frame.bytes)
            .sum();
        if busy < BUSY_BYTES {
            EAGER_BYTES
        } else {
            FULL_BYTES
        }
    }

    /// Whether another frame may be started.
    fn may_start(&self) -> bool {
        self.in_flight.len() < FRAMES_IN_FLIGHT_MAX && !self.is_in_doubt()
    }

    fn start_frames(&mut self) {
        while self.may_start() {
            self.mark_cut();
            let plan = match self.planned.take() {
                Some(plan) => plan,
                None if self.is_due() => {
                    let shared = &self.shared;
                    let limit = |first| self.cut.as_ref().map_or(u64::MAX, |cut| cut.frame_limit(first));
                    let left = self.current.as_ref().map_or(0, OpenSegment::left_bytes);
                    match Plan::take(&mut self.queue, |log| shared.acknowledged(log), limit, left) {
                        Some(plan) => plan,
                        None => return,
                    }
                }
                None => return,
            };
            let fits = |open: &OpenSegment| open.fits(plan.units(), plan.descriptors());
            if !self.current.as_ref().is_some_and(fits) && !self.go_on_in_next_segment() {
                self.planned = Some(plan);
                self.check_place_for_anew();
                return;
            }
            if !self.start_frame(plan) {
                return;
            }
        }
        self.mark_cut();
    }

    /// Places a frame in the current segment and writes it; false if it could not be started.
    fn start_frame(&mut self, plan: Plan) -> bool {
        let bytes = plan.units() as usize * UNIT_BYTES;
        let mut buffer = match self.local.buffer(bytes) {
            Ok(buffer) => buffer,
            Err(error) => {
                self.shared.fence_all(&format!("no memory for a frame: {error}"));
                return false;
            }
        };
        let open = self.current.as_mut().expect("the caller made room");
        let (first, last) = plan.sequences();
        let mut header = blank_header();
        header.store = self.shared.store;
        header.log = U16::new(self.log.id.0);
        header.segment = U32::new(open.at.segment.0);
        header.generation = U32::new(open.at.generation);
        header.unit = U32::new(open.next_unit);
        header.incarnation = U64::new(self.shared.incarnation);
        header.first = U64::new(first);
        header.last = U64::new(last);
        header.acknowledged = U64::new(self.log.acknowledged());
        header.predecessor = U32::new(self.predecessor);
        header.next_segment = U32::new(self.next.as_ref().map_or(NO_SEGMENT, |next| next.at.segment.0));
        header.next_generation = U32::new(self.next.as_ref().map_or(0, |next| next.at.generation));
        let (checksum, descriptors) = plan.encode(header, &self.shared.secret, &mut buffer);
        let predecessor = std::mem::replace(&mut self.predecessor, checksum);
        self.started = last;
        self.log.room.add(plan.refund(open.descriptors.len()));
        let offset = self
            .shared
            .places
            .offset(open.id(), u64::from(open.next_unit) * UNIT_BYTES as u64);
        let (segment, unit) = (open.id(), open.next_unit);
        let meets_zeroes = open.take(plan.units(), &descriptors);
        self.frame_bytes = (self.frame_bytes * (FRAMES_OF_LATE - 1) + bytes as u64) / FRAMES_OF_LATE;
        self.shared
            .counters
            .frame(bytes as u64, plan.batches.len() as u64);
        if self.is_cleaner() {
            let moved = &self.shared.counters.moved_frame_bytes;
            moved.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        for (log, sequence) in &plan.dependencies {
            self.shared.hurry(*log, *sequence);
        }
        let number = self.frames;
        self.frames += 1;
        self.in_flight.push_back(InFlight {
            number,
            bytes: bytes as u64,
            first,
            last,
            dependencies: plan.dependencies,
            predecessor,
            outcome: Outcome::Writing,
            segment,
            unit,
            batches: plan.batches,
            descriptors,
        });
        let (local, events) = (self.local.clone(), self.events.clone());
        let zeroes = meets_zeroes.then(|| self.zeroing.clone());
        let durable = !canary::is(Canary::EarlyAcknowledgement);
        self.local.spawn(async move {
            if let Some(zeroing) = zeroes {
                zeroing.opened().await;
            }
            let (_, result) = local.write(offset, buffer, 0..bytes, durable).await;
            events.push(Event::Written(number, result));
        });
        true
    }
}

/// A writer that panics must not leave anybody waiting for it: the store takes no more writes, and says so.
impl Drop for Writer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared
                .fence_all(&format!("the writer of log {} panicked", self.log.id));
            self.log.refuse_cut();
        }
    }
}

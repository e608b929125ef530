//! The inside of a simulated device, shared by its queues: what each command does, with or without a fault.
//!
//! Everything drawn for a command is drawn when it is submitted (its fault, its misdirection, what a discard
//! leaves), so that the order of submission decides and a power cut knows what was in flight.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use rustix::io::Errno;

use super::Options;
use super::faults::{Effect, Faults, On};
use super::image::{Image, Unit, bytes_of, unit_of};
use super::log::{Event, Log};
use super::media::{Change, Mark, Media};
use super::random::Random;
use crate::device::{DmaBuffer, Operation};
use crate::limits::UNIT_BYTES;

const UNIT: u64 = UNIT_BYTES as u64;
/// Misdirected commands land this many units away, half of the time.
const NEARBY_UNITS: u64 = 16;

/// What was decided for a command when it was submitted.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    pub(super) number: u64,
    pub(super) effect: Option<Effect>,
    /// Where it really goes.
    offset: u64,
    /// Last write completed before it was submitted.
    mark: Mark,
}

/// The bound on space and the units that have theirs.
struct Space {
    units_max: u64,
    taken: BTreeSet<u64>,
}

pub(super) struct State {
    pub(super) media: Media,
    pub(super) random: Random,
    pub(super) log: Log,
    /// Commands a fault has befallen.
    pub(super) injected: u64,
    /// Writes, zero-writes, discards and flushes that have taken effect.
    pub(super) changes: u64,
    pub(super) dead: bool,
    faults: Faults,
    space: Option<Space>,
    /// What writes, zero-writes and discards in flight will do, by number.
    in_flight: BTreeMap<u64, Change>,
    crash_at: Option<u64>,
    submitted: u64,
    queues: u32,
    units: u64,
}

impl State {
    pub(super) fn new(random: Random, options: &Options, image: Image) -> State {
        let media = Media::new(image, options.logical_block, options.volatile_cache);
        State::over(random, options, media)
    }

    fn over(random: Random, options: &Options, media: Media) -> State {
        State {
            media,
            random,
            log: Log::default(),
            injected: 0,
            changes: 0,
            dead: false,
            faults: Faults::none(),
            space: None,
            in_flight: BTreeMap::new(),
            crash_at: None,
            submitted: 0,
            queues: 0,
            units: options.capacity / UNIT,
        }
    }

    /// Number and stream of a new queue.
    pub(super) fn open_queue(&mut self) -> (u32, Random) {
        self.queues += 1;
        (self.queues - 1, self.random.fork())
    }

    pub(super) fn set_faults(&mut self, faults: Faults) {
        self.media.keep_previous(faults.reads_stale());
        self.space = faults.space_max().map(|bytes| Space {
            units_max: bytes / UNIT,
            taken: match self.space.take() {
                Some(space) => space.taken,
                None => self.media.visible().units().collect(),
            },
        });
        self.faults = faults;
    }

    pub(super) fn crash_after(&mut self, changes: u64) {
        self.crash_at = Some(self.changes + changes);
    }

    pub(super) fn surviving_image(&mut self) -> Image {
        let in_flight = self.in_flight.values().cloned().collect();
        self.media.after_power_cut(in_flight, &mut self.random)
    }

    /// Writes that a power cut may lose: those not flushed, then those in flight.
    pub(super) fn at_risk(&self) -> usize {
        self.media.at_risk() + self.in_flight.len()
    }

    pub(super) fn chosen_image(&self, keep: impl FnMut(usize) -> bool) -> Image {
        let in_flight = self.in_flight.values().cloned().collect();
        self.media.after_chosen_power_cut(in_flight, keep)
    }

    pub(super) fn restart(&mut self, options: &Options) -> State {
        self.dead = true;
        let mut media = self.media.clone();
        for change in self.in_flight.values() {
            media.write_in_doubt(change.clone(), &mut self.random);
        }
        State::over(self.random.fork(), options, media)
    }

    /// Decides what will become of a command.
    pub(super) fn admit(&mut self, operation: &Operation) -> Ticket {
        self.submitted += 1;
        let number = self.submitted;
        let mark = self.media.mark();
        let place = place_of(operation);
        let offset = place.as_ref().map_or(0, |place| place.start);
        if self.dead {
            return Ticket {
                number,
                effect: None,
                offset,
                mark,
            };
        }
        let kind = On::of(operation);
        let effect = self.faults.draw(kind, place.as_ref(), &mut self.random);
        self.injected += u64::from(effect.is_some());
        let offset = match (effect, place) {
            (Some(Effect::Misdirect), Some(place)) => self.elsewhere(&place),
            _ => offset,
        };
        if let Some(mut change) = self.change_of(operation, offset)
            && effect != Some(Effect::Lose)
        {
            if effect == Some(Effect::Flip) {
                self.flip_in(&mut change);
            }
            self.in_flight.insert(number, change);
        }
        Ticket {
            number,
            effect,
            offset,
            mark,
        }
    }

    /// The units a writing command will change.
    fn change_of(&mut self, operation: &Operation, offset: u64) -> Option<Change> {
        let first = offset / UNIT;
        match operation {
            Operation::Write { buffer, range, .. } => {
                let (units, _) = buffer[range.clone()].as_chunks::<UNIT_BYTES>();
                Some((first..).zip(units.iter().map(unit_of)).collect())
            }
            Operation::WriteZeroes { len, .. } => {
                Some((first..first + len / UNIT).map(|unit| (unit, None)).collect())
            }
            Operation::Discard { len, .. } => {
                let units = first..first + len / UNIT;
                Some(match self.random.below(3) {
                    0 => Change::new(),
                    1 => units.map(|unit| (unit, None)).collect(),
                    _ => {
                        let garbage = self.garbage();
                        units.map(|unit| (unit, garbage.clone())).collect()
                    }
                })
            }
            Operation::Read { .. } | Operation::Flush | Operation::Allocate { .. } => None,
        }
    }

    fn garbage(&mut self) -> Unit {
        let mut bytes = [0; UNIT_BYTES];
        for piece in bytes.as_chunks_mut::<8>().0 {
            *piece = self.random.number().to_le_bytes();
        }
        Some(Arc::new(bytes))
    }

    fn flip_in(&mut self, change: &mut Change) {
        let index = usize::try_from(self.random.below(change.len() as u64)).unwrap_or(0);
        let (byte, mask) = self.random_bit(UNIT_BYTES);
        let mut bytes = bytes_of(&change[index].1);
        bytes[byte] ^= mask;
        change[index].1 = unit_of(&bytes);
    }

    fn random_bit(&mut self, len: usize) -> (usize, u8) {
        let byte = usize::try_from(self.random.below(len as u64)).unwrap_or(0);
        (byte, 1 << self.random.below(8))
    }

    /// Another place of the same length, if the device has one.
    fn elsewhere(&mut self, place: &Range<u64>) -> u64 {
        let first = place.start / UNIT;
        let starts = self.units - (place.end - place.start) / UNIT + 1;
        let away = match self.random.chance(0.5) {
            true => 1 + self.random.below(NEARBY_UNITS),
            false => 1 + self.random.below(starts),
        };
        let other = (first + away) % starts;
        let other = if other == first {
            (first + 1) % starts
        } else {
            other
        };
        other * UNIT
    }

    /// A command takes effect, at its place in the order of completion.
    pub(super) fn finish(&mut self, ticket: &Ticket, operation: &mut Operation) -> io::Result<()> {
        let changes = !matches!(operation, Operation::Read { .. } | Operation::Allocate { .. });
        self.dead |= changes && self.crash_at == Some(self.changes);
        if self.dead {
            // What it would have written stays in flight, for the power cut to decide.
            return Err(Errno::NODEV.into());
        }
        self.changes += u64::from(changes);
        let effect = ticket.effect;
        let failure = match effect {
            Some(Effect::Fail(errno)) => Some(io::Error::from_raw_os_error(errno)),
            _ => None,
        };
        let change = self.in_flight.remove(&ticket.number);
        match operation {
            Operation::Read { buffer, range, .. } => {
                if failure.is_none() {
                    self.read(ticket, &mut buffer[range.clone()]);
                }
            }
            Operation::Write { .. } | Operation::WriteZeroes { .. } => {
                let durable = matches!(operation, Operation::Write { durable: true, .. });
                let change = change.unwrap_or_default();
                if !self.take_space(change.iter().map(|(unit, _)| *unit)) {
                    return Err(Errno::NOSPC.into());
                }
                match effect {
                    Some(Effect::Fail(_)) => self.media.write_in_doubt(change, &mut self.random),
                    Some(Effect::Tear) => self.media.write_torn(change, durable, &mut self.random),
                    _ => self.media.write(change, durable),
                }
            }
            Operation::Discard { offset, len } => match effect {
                Some(Effect::Fail(_)) => self
                    .media
                    .write_in_doubt(change.unwrap_or_default(), &mut self.random),
                Some(Effect::Lose) => {}
                _ => {
                    self.media.write(change.unwrap_or_default(), false);
                    if let Some(space) = &mut self.space {
                        let units = *offset / UNIT..(*offset + *len) / UNIT;
                        space.taken.retain(|unit| !units.contains(unit));
                    }
                }
            },
            Operation::Flush => match effect {
                Some(Effect::Fail(_)) => self.media.flush_in_part(ticket.mark, &mut self.random),
                Some(Effect::Lose) => {}
                _ => self.media.flush(ticket.mark),
            },
            Operation::Allocate { offset, len } => {
                let units = *offset / UNIT..(*offset + *len) / UNIT;
                if failure.is_none() && !self.take_space(units) {
                    return Err(Errno::NOSPC.into());
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn read(&mut self, ticket: &Ticket, answer: &mut [u8]) {
        if ticket.effect == Some(Effect::Rot) {
            let (byte, mask) = self.random_bit(answer.len());
            self.media.flip(ticket.offset + byte as u64, mask);
        }
        let source = match ticket.effect {
            Some(Effect::Stale) => self.media.previous(),
            _ => self.media.visible(),
        };
        for (unit, part) in (ticket.offset / UNIT..).zip(answer.chunks_mut(UNIT_BYTES)) {
            match source.get(unit) {
                Some(bytes) => part.copy_from_slice(&bytes[..part.len()]),
                None => part.fill(0),
            }
        }
        if ticket.effect == Some(Effect::Flip) {
            let (byte, mask) = self.random_bit(answer.len());
            answer[byte] ^= mask;
        }
    }

    /// Gives space to units that have none; all or nothing.
    fn take_space(&mut self, units: impl Iterator<Item = u64>) -> bool {
        let Some(space) = &mut self.space else { return true };
        let new: Vec<u64> = units.filter(|unit| !space.taken.contains(unit)).collect();
        let fits = (space.taken.len() + new.len()) as u64 <= space.units_max;
        if fits {
            space.taken.extend(new);
        }
        fits
    }

    /// Notes the end of a command.
    pub(super) fn note(
        &mut self,
        ticket: &Ticket,
        queue: u32,
        at_ns: u64,
        operation: &Operation,
        result: &io::Result<()>,
    ) {
        let place = place_of(operation).unwrap_or(0..0);
        self.log.add(Event {
            number: ticket.number,
            queue,
            at_ns,
            kind: On::of(operation),
            offset: place.start,
            len: place.end - place.start,
            durable: matches!(operation, Operation::Write { durable: true, .. }),
            fault: ticket.effect,
            error: result
                .as_ref()
                .err()
                .map(|error| error.raw_os_error().unwrap_or(0)),
        });
    }
}

/// The buffer lent to an operation.
pub(super) fn buffer_of(operation: Operation) -> Option<DmaBuffer> {
    match operation {
        Operation::Read { buffer, .. } | Operation::Write { buffer, .. } => Some(buffer),
        Operation::Flush
        | Operation::Discard { .. }
        | Operation::WriteZeroes { .. }
        | Operation::Allocate { .. } => None,
    }
}

/// The part of the device an operation touches.
pub(super) fn place_of(operation: &Operation) -> Option<Range<u64>> {
    match operation {
        Operation::Read { offset, range, .. } | Operation::Write { offset, range, .. } => {
            Some(*offset..offset.saturating_add(range.len() as u64))
        }
        Operation::Discard { offset, len }
        | Operation::WriteZeroes { offset, len }
        | Operation::Allocate { offset, len } => Some(*offset..offset.saturating_add(*len)),
        Operation::Flush => None,
    }
}

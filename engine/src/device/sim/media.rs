//! What survives: visible contents, durable contents, and the writes between them.
//!
//! Invariants: `visible` is `durable` plus all unflushed writes in order, plus what a failed flush gave up on. A
//! durable write to a unit removes older unflushed writes of that unit, so a power cut never brings back what a
//! durable write has replaced.

use std::collections::BTreeMap;

use crate::limits::UNIT_BYTES;

use super::image::{Image, Unit, bytes_of, pieces, unit_of};
use super::random::Random;

/// New contents of units.
pub(super) type Change = Vec<(u64, Unit)>;

/// Place of a write in the order of completion, from 1.
pub(super) type Mark = u64;

/// What remains of a write that was cut off.
enum Fate {
    Whole,
    Torn,
    Nothing,
}

#[derive(Clone)]
pub(super) struct Media {
    visible: Image,
    durable: Image,
    /// Per unit, the unflushed writes in order.
    unflushed: BTreeMap<u64, Vec<(Mark, Unit)>>,
    /// What units held before their last write; kept only while a plan asks for stale reads.
    previous: Option<Image>,
    last: Mark,
    logical_block: usize,
    volatile_cache: bool,
}

impl Media {
    pub(super) fn new(image: Image, logical_block: u32, volatile_cache: bool) -> Media {
        Media {
            visible: image.clone(),
            durable: image,
            unflushed: BTreeMap::new(),
            previous: None,
            last: 0,
            logical_block: if logical_block == 512 { 512 } else { UNIT_BYTES },
            volatile_cache,
        }
    }

    /// What reads see.
    pub(super) fn visible(&self) -> &Image {
        &self.visible
    }

    /// What stale reads see.
    pub(super) fn previous(&self) -> &Image {
        self.previous.as_ref().unwrap_or(&self.visible)
    }

    pub(super) fn keep_previous(&mut self, keep: bool) {
        self.previous = keep.then(|| self.previous.take().unwrap_or_else(|| self.visible.clone()));
    }

    /// The last write that completed.
    pub(super) fn mark(&self) -> Mark {
        self.last
    }

    /// A write takes effect.
    pub(super) fn write(&mut self, change: Change, durable: bool) {
        self.last += 1;
        for (unit, contents) in change {
            if let Some(previous) = &mut self.previous {
                previous.set(unit, self.visible.get(unit));
            }
            self.visible.set(unit, contents.clone());
            if durable || !self.volatile_cache {
                self.unflushed.remove(&unit);
                self.durable.set(unit, contents);
            } else {
                self.unflushed
                    .entry(unit)
                    .or_default()
                    .push((self.last, contents));
            }
        }
    }

    /// Changes bytes wherever they are held: visible, durable and on their way. What is durable stays what it is.
    pub(super) fn poke(&mut self, offset: u64, bytes: &[u8]) {
        self.alter(offset, bytes, |_, new| new);
    }

    /// Flips the bits of a mask wherever the byte is held.
    pub(super) fn flip(&mut self, offset: u64, mask: u8) {
        self.alter(offset, &[mask], |old, mask| old ^ mask);
    }

    fn alter(&mut self, offset: u64, bytes: &[u8], change: impl Fn(u8, u8) -> u8) {
        let alter_image = |image: &mut Image| {
            let mut held = image.peek(offset, bytes.len());
            held.iter_mut()
                .zip(bytes)
                .for_each(|(held, byte)| *held = change(*held, *byte));
            image.poke(offset, &held);
        };
        alter_image(&mut self.visible);
        alter_image(&mut self.durable);
        for (unit, start, count, done) in pieces(offset, bytes.len()) {
            for (_, contents) in self.unflushed.get_mut(&unit).into_iter().flatten() {
                let mut held = bytes_of(contents);
                let altered = held[start..start + count].iter_mut().zip(&bytes[done..]);
                altered.for_each(|(held, byte)| *held = change(*held, *byte));
                *contents = unit_of(&held);
            }
        }
    }

    /// Writes up to `mark` become durable.
    pub(super) fn flush(&mut self, mark: Mark) {
        self.settle(mark, |_| true);
    }

    /// Some writes up to `mark` become durable, the others never will.
    pub(super) fn flush_in_part(&mut self, mark: Mark, random: &mut Random) {
        let mut kept = BTreeMap::new();
        for write in self.writes() {
            kept.insert(write, random.chance(0.5));
        }
        self.settle(mark, |write| kept.get(&write).copied().unwrap_or(false));
    }

    fn settle(&mut self, mark: Mark, keep: impl Fn(Mark) -> bool) {
        let durable = &mut self.durable;
        self.unflushed.retain(|unit, versions| {
            let later = versions.partition_point(|(write, _)| *write <= mark);
            for (write, contents) in versions.drain(..later) {
                if keep(write) {
                    durable.set(*unit, contents);
                }
            }
            !versions.is_empty()
        });
    }

    /// Unflushed writes in order.
    fn writes(&self) -> Vec<Mark> {
        let mut writes: Vec<Mark> = self
            .unflushed
            .values()
            .flatten()
            .map(|(write, _)| *write)
            .collect();
        writes.sort_unstable();
        writes.dedup();
        writes
    }

    /// Unflushed writes with all their units, in order.
    fn unflushed(&self) -> impl Iterator<Item = Change> {
        let mut writes: BTreeMap<Mark, Change> = BTreeMap::new();
        for (unit, versions) in &self.unflushed {
            for (write, contents) in versions {
                writes.entry(*write).or_default().push((*unit, contents.clone()));
            }
        }
        writes.into_values()
    }

    /// What is found after a power cut with these writes in flight.
    pub(super) fn after_power_cut(&self, mut in_flight: Vec<Change>, random: &mut Random) -> Image {
        random.shuffle(&mut in_flight);
        // Whether little or much survives is itself a matter of luck.
        let luck = random.below(5) as f64 / 4.0;
        let mut image = self.durable.clone();
        for change in self.unflushed().chain(in_flight) {
            let fate = draw_fate(luck, random);
            self.leave(&mut image, change, fate, random);
        }
        image
    }

    /// How many writes a power cut may lose that are not in flight.
    pub(super) fn at_risk(&self) -> usize {
        self.writes().len()
    }

    /// What is found after a power cut that keeps the chosen writes whole, of those not flushed and those in flight,
    /// numbered in this order.
    pub(super) fn after_chosen_power_cut(
        &self,
        in_flight: Vec<Change>,
        mut keep: impl FnMut(usize) -> bool,
    ) -> Image {
        let mut image = self.durable.clone();
        for (number, change) in self.unflushed().chain(in_flight).enumerate() {
            if keep(number) {
                for (unit, contents) in change {
                    image.set(unit, contents);
                }
            }
        }
        image
    }

    /// What a write that was cut off or failed leaves on the media: all of it, a part, or nothing.
    pub(super) fn write_in_doubt(&mut self, change: Change, random: &mut Random) {
        let fate = draw_fate(0.4, random);
        match fate {
            Fate::Whole => self.write(change, false),
            Fate::Torn => self.write_torn(change, false, random),
            Fate::Nothing => {}
        }
    }

    /// A part of a write takes effect.
    pub(super) fn write_torn(&mut self, change: Change, durable: bool, random: &mut Random) {
        let torn = self.tear(&self.visible, change, random);
        self.write(torn, durable);
    }

    fn leave(&self, image: &mut Image, change: Change, fate: Fate, random: &mut Random) {
        let left = match fate {
            Fate::Whole => change,
            Fate::Torn => self.tear(image, change, random),
            Fate::Nothing => return,
        };
        for (unit, contents) in left {
            image.set(unit, contents);
        }
    }

    /// Mixes new and old logical blocks: a prefix, a suffix, or any subset is new. Never all of them.
    fn tear(&self, old: &Image, change: Change, random: &mut Random) -> Change {
        let per_unit = UNIT_BYTES / self.logical_block;
        let count = change.len() * per_unit;
        let kind = random.below(3);
        let cut = usize::try_from(random.below(count as u64)).unwrap_or(0);
        let mut new: Vec<bool> = (0..count)
            .map(|block| match kind {
                0 => block < cut,
                1 => block > cut,
                _ => random.chance(0.5),
            })
            .collect();
        if new.iter().all(|&new| new)
            && let Some(block) = new.get_mut(cut)
        {
            *block = false;
        }
        let mut torn = Change::with_capacity(change.len());
        for ((unit, contents), new) in change.into_iter().zip(new.chunks(per_unit)) {
            let before = bytes_of(&old.get(unit));
            let mut bytes = bytes_of(&contents);
            for (block, new) in new.iter().enumerate() {
                if !new {
                    let place = block * self.logical_block..(block + 1) * self.logical_block;
                    bytes[place.clone()].copy_from_slice(&before[place]);
                }
            }
            torn.push((unit, unit_of(&bytes)));
        }
        torn
    }
}

fn draw_fate(luck: f64, random: &mut Random) -> Fate {
    if random.chance(luck) {
        Fate::Whole
    } else if random.chance(0.5) {
        Fate::Torn
    } else {
        Fate::Nothing
    }
}

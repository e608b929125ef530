//! Draws a plan from a seed.

use super::content::{Content, OWN};
use super::faults::Weather;
use super::maintenance::Maintenance;
use super::plan::{ClientPlan, DEVICE_BYTES, Edit, EndAt, Ending, Operation, Plan, Round};
use super::quota::Quota;
use crate::device::sim::Random;

/// Branches one client may own.
pub(super) const SLOTS: u8 = 3;
/// Numbers of contents that all clients put; beyond, each client has its own.
const SHARED: u64 = 24;
/// Sizes of contents, small ones more often.
const LENGTHS: [u32; 10] = [0, 17, 300, 900, 4096, 4096, 5000, 9000, 40_000, 120_000];
/// A content that is cut into chunks.
const LARGE: u32 = 1_200_000;

/// The plan of a seed.
pub fn draw(seed: u64) -> Plan {
    // Not the seed itself: device and driver have streams of their own from it.
    let mut random = Random::new(seed ^ 0x5145_4544_504c_414e);
    let weather = Weather::draw(&mut random);
    let many = random.chance(0.1);
    let people = 1 + random.below(if many { 40 } else { 8 });
    let rounds = 1 + random.below(4);
    let small = weather != Weather::Full && random.chance(0.08);
    // Few branches and few contents meet more often.
    let mut drawing = Drawing {
        large: random.chance(0.02),
        durable: [0.1, 0.3, 0.8][pick(&mut random, 3)],
        random: random.fork(),
        small,
        tidy: random.chance(0.2),
    };
    Plan {
        seed,
        weather,
        logical_block: if random.chance(0.5) { 512 } else { 4096 },
        volatile_cache: random.chance(0.8),
        device_bytes: match small {
            true => (56 + random.below(60)) << 20,
            false => DEVICE_BYTES,
        },
        space: (weather == Weather::Full).then(|| (40 + random.below(60)) << 20),
        rounds: (0..rounds)
            .map(|_| drawing.round(&mut random, weather, people))
            .collect(),
    }
}

fn pick(random: &mut Random, count: usize) -> usize {
    usize::try_from(random.below(count as u64)).unwrap_or(0)
}

struct Drawing {
    random: Random,
    large: bool,
    durable: f64,
    /// The device is.
    small: bool,
    /// Upkeep never rests.
    tidy: bool,
}

impl Drawing {
    fn round(&mut self, random: &mut Random, weather: Weather, people: u64) -> Round {
        let busy = 1 + random.below(if people > 8 { 6 } else { 14 });
        let clients = (0..people)
            .filter_map(|number| {
                let number = usize::try_from(number).unwrap_or(0);
                let operations = self.random.below(busy + 1);
                (operations > 0).then(|| ClientPlan {
                    number,
                    on_reactor: self.random.chance(0.5),
                    operations: (0..operations).map(|_| self.operation(number)).collect(),
                })
            })
            .collect();
        let changes_max = [8, 40, 160][pick(random, 3)];
        let changes = 1 + random.below(changes_max);
        let (end_at, ending) = match random.below(10) {
            0..=3 => (EndAt::Changes(changes), Ending::PowerCut),
            4 => (EndAt::Done, Ending::PowerCut),
            5 => (EndAt::Time(random.below(20_000_000)), Ending::PowerCut),
            6 => (EndAt::Time(random.below(20_000_000)), Ending::Restart),
            7 => (EndAt::Changes(changes), Ending::Restart),
            8 => (EndAt::Done, Ending::Close),
            _ => (EndAt::Changes(changes * 2), Ending::Close),
        };
        Round {
            cut_recovery: random.chance(0.25).then(|| random.below(12)),
            reactors: 1 + pick(random, 4),
            cache_bytes: if random.chance(0.5) { 0 } else { 1 << 20 },
            by_itself: random.chance(if self.small { 0.8 } else { 0.1 }),
            rotten: match weather {
                Weather::Calm | Weather::Slow if !self.small && random.chance(0.1) => 1 + random.below(6),
                _ => 0,
            },
            quota: match random.chance(0.2) {
                true => Quota::new(
                    pick(random, usize::try_from(people).unwrap_or(1)),
                    [2_000, 20_000, 200_000][pick(random, 3)],
                ),
                false => None,
            },
            zero_ahead: random.chance(0.2),
            clients,
            faults: weather.rules(random),
            end_at,
            ending,
        }
    }

    fn operation(&mut self, client: usize) -> Operation {
        let durable = self.random.chance(self.durable);
        let slot = self.slot();
        let tidy = self.tidy && self.random.chance(0.25);
        match self.random.below(100) {
            _ if tidy => {
                Operation::Maintain(Maintenance::ALL[pick(&mut self.random, Maintenance::ALL.len())])
            }
            0..=12 => {
                let count = 1 + self.random.below(5);
                Operation::Put((0..count).map(|_| self.content(client)).collect(), durable)
            }
            13 => Operation::Stream(self.content(client), durable),
            14 => Operation::Release,
            15..=20 => Operation::Get(self.random.number()),
            21..=22 => Operation::GetMany(self.random.number(), 1 + self.random.below(12)),
            23..=24 => {
                let from = u32::try_from(self.random.below(10_000)).unwrap_or(0);
                Operation::Range(self.random.number(), from, from / 2 + 100)
            }
            25..=29 => Operation::Pin(self.random.number(), self.random.chance(0.4), durable),
            30..=32 => Operation::Unpin(self.random.number(), durable),
            33..=34 => Operation::Tag {
                slot,
                branch: self.slot(),
                back: self.random.below(4),
                durable,
            },
            35 => Operation::Untag(slot, durable),
            36..=38 => Operation::Forget {
                slot,
                last: 1 + self.random.below(3),
                tagged: self.random.chance(0.5),
                durable,
            },
            39 => Operation::Temporary(self.random.number(), self.random.below(30_000), durable),
            40 => Operation::Expire(durable),
            41..=60 => Operation::Commit {
                slot,
                edits: self.edits(client),
                durable,
                fresh: self.random.chance(0.2),
            },
            61..=68 => Operation::CommitMain(self.edits(client), durable),
            69..=75 => Operation::Branch(slot, self.random.number(), durable),
            76..=78 => Operation::Rename(slot, self.slot(), durable),
            79..=82 => Operation::Delete(slot, durable),
            83..=85 => Operation::Rollback(slot, 1 + self.random.below(3), durable),
            86..=90 => Operation::Read(slot),
            91..=93 => Operation::Flush,
            94..=96 if !Maintenance::ALL.is_empty() => {
                Operation::Maintain(Maintenance::ALL[pick(&mut self.random, Maintenance::ALL.len())])
            }
            _ => Operation::Pause(self.random.below(9_000)),
        }
    }

    fn slot(&mut self) -> u8 {
        u8::try_from(self.random.below(u64::from(SLOTS))).unwrap_or(0)
    }

    fn content(&mut self, client: usize) -> Content {
        if self.large && self.random.chance(0.05) {
            let number = u32::try_from(self.random.below(2)).unwrap_or(0);
            return Content { number, len: LARGE };
        }
        let number = match self.random.chance(0.6) {
            true => self.random.below(SHARED),
            false => ((client + 1) * OWN) as u64 + self.random.below(100),
        };
        let len = LENGTHS[pick(&mut self.random, LENGTHS.len())];
        // There is only one empty content.
        let number = if len == 0 { 0 } else { number };
        Content {
            number: u32::try_from(number).unwrap_or(0),
            len,
        }
    }

    fn edits(&mut self, client: usize) -> Vec<Edit> {
        let wide = self.random.chance(0.03);
        let count = match wide {
            true => 30 + self.random.below(30),
            false => 1 + self.random.below(4),
        };
        (0..count).map(|_| self.edit(client, wide)).collect()
    }

    fn edit(&mut self, client: usize, wide: bool) -> Edit {
        let path = self.path(wide);
        match self.random.below(12) {
            0 | 1 => Edit::Remove(path),
            2 => Edit::Rename(path, self.path(wide)),
            _ => {
                let mut content = self.content(client);
                if wide || content.len > 1 << 20 {
                    content.len = 40;
                }
                Edit::Write(path, content)
            }
        }
    }

    fn path(&mut self, wide: bool) -> String {
        let names = if wide { 120 } else { 6 };
        let name = self.random.below(names);
        match self.random.below(4) {
            0 => format!("sub/f{name}"),
            1 => format!("sub/deep/f{name}"),
            _ => format!("f{name}"),
        }
    }
}

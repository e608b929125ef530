//! What one seed does, written out: rounds of openings, clients, operations, faults and endings.
//!
//! A plan is drawn before it runs (`workload`), so that parts of it can be left out (`minimise`) without changing the
//! others. Operations name things relative to what is there when they run ("the third branch"); those that make no
//! sense then are skipped.

use std::fmt;

use super::content::Content;
use super::faults::Weather;
use super::maintenance::Maintenance;
use super::quota::Quota;
use crate::device::sim::Rule;

/// Bytes of a device that is large enough for all segments that a few openings begin.
pub(super) const DEVICE_BYTES: u64 = 256 << 20;

/// A run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Seed of device and schedule.
    pub seed: u64,
    /// What kind of misfortune there is.
    pub weather: Weather,
    /// Smallest unit the device writes atomically.
    pub logical_block: u32,
    /// Whether completed writes wait in a cache of the device.
    pub volatile_cache: bool,
    /// Bytes the device may take, if that is bounded.
    pub space: Option<u64>,
    /// Bytes of the device: few of them fill up.
    pub device_bytes: u64,
    /// Openings, in order.
    pub rounds: Vec<Round>,
}

/// One opening of the store, to its end.
#[derive(Debug, Clone)]
pub struct Round {
    /// Cuts the power after so many changes of the device during a first attempt to open.
    pub cut_recovery: Option<u64>,
    /// Reactors, and so logs.
    pub reactors: usize,
    /// Bytes of the cache of extents.
    pub cache_bytes: u64,
    /// Whether segments are zeroed before use.
    pub zero_ahead: bool,
    /// Whether the store may collect by itself when it runs full.
    pub by_itself: bool,
    /// Extents that are damaged, found and repaired before anybody works.
    pub rotten: u64,
    /// A quota on the branches of one client.
    pub quota: Option<Quota>,
    /// Who works, all at the same time.
    pub clients: Vec<ClientPlan>,
    /// What the device does wrong from after the opening to the end of the round.
    pub faults: Vec<Rule>,
    /// When the end comes.
    pub end_at: EndAt,
    /// What the end is.
    pub ending: Ending,
}

/// What one client does, one operation after the other.
#[derive(Debug, Clone)]
pub struct ClientPlan {
    /// Who it is: owns what it makes, in all rounds.
    pub number: usize,
    /// Runs as a task of a reactor instead of a caller outside.
    pub on_reactor: bool,
    /// In order.
    pub operations: Vec<Operation>,
}

/// When a round ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndAt {
    /// When all clients have finished.
    Done,
    /// After so many changes of the device since the opening.
    Changes(u64),
    /// After so many nanoseconds of virtual time since the opening.
    Time(u64),
}

/// How a round ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Power loss.
    PowerCut,
    /// The process is killed; the device stays up.
    Restart,
    /// The store is closed (unless the device dies before).
    Close,
}

/// A change of one path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Writes a file; directories on the way are made.
    Write(String, Content),
    /// Removes a file if it is there.
    Remove(String),
    /// Renames a file if it is there and the new name is free.
    Rename(String, String),
}

/// What a client does.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// Puts contents as one batch.
    Put(Vec<Content>, bool),
    /// Puts one content as a stream.
    Stream(Content, bool),
    /// Gets a content that is there.
    Get(u64),
    /// Gets several at once.
    GetMany(u64, u64),
    /// Gets a part of a content.
    Range(u64, u32, u32),
    /// Holds nothing any more that was put.
    Release,
    /// Pins a content that is there: one of its own, or one that all put.
    Pin(u64, bool, bool),
    /// Takes back a pin.
    Unpin(u64, bool),
    /// Edits the working tree of an own branch and commits it; makes the branch if it is missing.
    Commit {
        /// Which branch.
        slot: u8,
        /// What changes.
        edits: Vec<Edit>,
        /// Waits for durability.
        durable: bool,
        /// Drops the working tree and starts again from the branch.
        fresh: bool,
    },
    /// Edits and commits the branch all share.
    CommitMain(Vec<Edit>, bool),
    /// Makes an own branch where some branch is.
    Branch(u8, u64, bool),
    /// Renames an own branch.
    Rename(u8, u8, bool),
    /// Deletes an own branch.
    Delete(u8, bool),
    /// Moves an own branch back by so many commits.
    Rollback(u8, u64, bool),
    /// Tags a commit of an own branch; moves an own tag that is there.
    Tag {
        /// Which tag.
        slot: u8,
        /// Which branch.
        branch: u8,
        /// So many commits before its head.
        back: u64,
        /// Waits for durability.
        durable: bool,
    },
    /// Removes an own tag.
    Untag(u8, bool),
    /// Forgets the history of an own branch.
    Forget {
        /// Which branch.
        slot: u8,
        /// So many of the newest commits stay.
        last: u64,
        /// Those with an own tag stay, too.
        tagged: bool,
        /// Waits for durability.
        durable: bool,
    },
    /// Makes a branch, where some branch is, that goes by itself after so many microseconds.
    Temporary(u64, u64, bool),
    /// Sweeps the branches that have expired.
    Expire(bool),
    /// Reads an own branch and compares all of it.
    Read(u8),
    /// Makes everything durable.
    Flush,
    /// Lets so many microseconds pass.
    Pause(u64),
    /// Upkeep of the store.
    Maintain(Maintenance),
}

impl Plan {
    /// Whether the store may be refused room.
    pub fn fills_up(&self) -> bool {
        self.space.is_some() || self.device_bytes < DEVICE_BYTES
    }

    /// Operations of all clients and rounds.
    pub fn operations(&self) -> usize {
        let clients = self.rounds.iter().flat_map(|round| &round.clients);
        clients.map(|client| client.operations.len()).sum()
    }
}

impl Operation {
    /// Its kind, for counting.
    pub fn word(&self) -> &'static str {
        match self {
            Operation::Put(..) => "put",
            Operation::Stream(..) => "stream",
            Operation::Get(..) => "get",
            Operation::GetMany(..) => "get many",
            Operation::Range(..) => "range",
            Operation::Release => "release",
            Operation::Tag { .. } => "tag",
            Operation::Untag(..) => "untag",
            Operation::Forget { .. } => "forget",
            Operation::Temporary(..) => "temporary branch",
            Operation::Expire(_) => "expire",
            Operation::Pin(..) => "pin",
            Operation::Unpin(..) => "unpin",
            Operation::Commit { .. } => "commit",
            Operation::CommitMain(..) => "commit main",
            Operation::Branch(..) => "branch",
            Operation::Rename(..) => "rename",
            Operation::Delete(..) => "delete",
            Operation::Rollback(..) => "rollback",
            Operation::Read(..) => "read",
            Operation::Flush => "flush",
            Operation::Pause(..) => "pause",
            Operation::Maintain(what) => what.word(),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "seed {}: {:?}, {} bytes, blocks of {}, {} cache{}",
            self.seed,
            self.weather,
            self.device_bytes,
            self.logical_block,
            if self.volatile_cache {
                "volatile"
            } else {
                "no volatile"
            },
            self.space
                .map_or(String::new(), |bytes| format!(", space for {bytes} bytes")),
        )?;
        for (number, round) in self.rounds.iter().enumerate() {
            write!(f, "round {number}: ")?;
            if let Some(changes) = round.cut_recovery {
                write!(f, "recovery cut after {changes} changes, then ")?;
            }
            writeln!(
                f,
                "{} reactors, {} bytes of cache{}",
                round.reactors,
                round.cache_bytes,
                if round.zero_ahead { ", zeroing ahead" } else { "" }
            )?;
            if round.by_itself {
                writeln!(f, "  collects by itself")?;
            }
            if round.rotten > 0 {
                writeln!(f, "  {} extents rotten", round.rotten)?;
            }
            if let Some(quota) = round.quota {
                writeln!(f, "  {quota:?}")?;
            }
            for rule in &round.faults {
                writeln!(f, "  fault {rule:?}")?;
            }
            for client in &round.clients {
                let place = if client.on_reactor { " (on a reactor)" } else { "" };
                writeln!(f, "  client {}{place}", client.number)?;
                for operation in &client.operations {
                    writeln!(f, "    {operation:?}")?;
                }
            }
            writeln!(f, "  {:?} at {:?}", round.ending, round.end_at)?;
        }
        Ok(())
    }
}

//! Bugs planted on purpose: a simulation that does not find them has failed itself.
//!
//! Owns the switch. Only with the feature `canaries` is there one; without it `is` is a constant `false`, and
//! what is planted does not exist in the program. At most one bug is live, and only on the thread that asked for it.
//! Rejected: patches beside the source; they stop applying, and nobody sees it.

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canary {
    /// Bytes are handed out without being compared with their id.
    SkippedChecksum,
    /// A frame is acknowledged when the device took it, not when it is durable.
    EarlyAcknowledgement,
    /// Replay takes a torn frame at the end of a log for a whole one.
    TornReplay,
    /// Replay goes on behind a frame that is missing and was never acknowledged.
    SkippedGap,
    /// Recovery takes the word of an earlier opening that the store was closed.
    ForgottenIncarnation,
    /// Batches do not say what they depend on in other logs.
    DroppedDependency,
    /// New references do not keep a collection from missing what they refer to.
    LostBarrier,
    /// A segment is used again before the checkpoint that frees it is durable.
    EarlyReuse,
    /// A write that failed is taken for one that is durable.
    IgnoredFailure,
    /// Replay does not look for what was written anew after a failed write.
    MissedRewrite,
    /// Recovery takes extents that a collection has swept for living ones.
    ForgottenDeadSets,
    /// Replay takes a frame of an earlier opening for one of the last. Only a write that lands late can show it, which
    /// the simulation does not have; a test of its own does.
    LateFrame,
}

impl Canary {
    /// All of them.
    pub const ALL: [Canary; 12] = [
        Canary::SkippedChecksum,
        Canary::EarlyAcknowledgement,
        Canary::TornReplay,
        Canary::SkippedGap,
        Canary::ForgottenIncarnation,
        Canary::DroppedDependency,
        Canary::LostBarrier,
        Canary::EarlyReuse,
        Canary::IgnoredFailure,
        Canary::MissedRewrite,
        Canary::ForgottenDeadSets,
        Canary::LateFrame,
    ];

    /// Its name on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Canary::SkippedChecksum => "skipped-checksum",
            Canary::EarlyAcknowledgement => "early-acknowledgement",
            Canary::TornReplay => "torn-replay",
            Canary::SkippedGap => "skipped-gap",
            Canary::ForgottenIncarnation => "forgotten-incarnation",
            Canary::DroppedDependency => "dropped-dependency",
            Canary::LostBarrier => "lost-barrier",
            Canary::EarlyReuse => "early-reuse",
            Canary::IgnoredFailure => "ignored-failure",
            Canary::MissedRewrite => "missed-rewrite",
            Canary::ForgottenDeadSets => "forgotten-dead-sets",
            Canary::LateFrame => "late-frame",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Canary> {
        Canary::ALL.into_iter().find(|canary| canary.name() == name)
    }
}

#[cfg(feature = "canaries")]
mod switch {
    use std::cell::Cell;

    use super::Canary;

    thread_local! {
        static LIVE: Cell<Option<Canary>> = const { Cell::new(None) };
    }

    /// Lets a bug live on this thread, or none.
    pub fn release(canary: Option<Canary>) {
        LIVE.set(canary);
    }

    /// Whether this bug is live.
    #[inline]
    pub(crate) fn is(canary: Canary) -> bool {
        LIVE.get() == Some(canary)
    }
}

#[cfg(feature = "canaries")]
pub(crate) use switch::is;
#[cfg(feature = "canaries")]
pub use switch::release;

/// No bug is ever live.
#[cfg(not(feature = "canaries"))]
#[inline(always)]
pub(crate) const fn is(_: Canary) -> bool {
    false
}

//! Which marks of an earlier collection may be trusted, so that the next one looks at the young alone.
//!
//! Extents never change and refer only to what was there before them. So once a mark has ended, everything that a marked
//! extent refers to is marked, and stays so: entries without a mark are the only ones that a sweep removes, and entries
//! are born without one between two collections. A collection that leaves the marks up and stops wherever it meets one
//! still finds every living extent that is younger; what has died of the old is left for a collection of all.
//! Invariant: the marks are trusted only after a mark that came to its end, in this opening.
//! Rejected: an age in each entry (no bits are left, and one generation takes most of the gain).

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// What a collection looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Everything.
    #[default]
    All,
    /// What has come since the last collection; the rest is taken to be alive.
    Young,
}

/// Collections of the young that may be left out in a row because the last ones did not pay.
const LEFT_OUT_MAX: u32 = 32;

/// What is known about the marks and the young. Changed by maintenance jobs only, of which one runs at a time.
#[derive(Debug, Default)]
pub(in crate::store) struct Generations {
    closed: AtomicBool,
    /// The last mark that ended looked at everything.
    all_known: AtomicBool,
    /// How many collections go on to look at everything before the young are tried again.
    left_out: AtomicU32,
    /// And how many do after the next attempt in vain.
    leave_out: AtomicU32,
}

impl Generations {
    /// A mark begins. What it may look at: from here to its end marks say nothing.
    pub(super) fn begin(&self, wanted: Scope) -> Scope {
        let closed = self.closed.swap(false, Ordering::Relaxed);
        match wanted {
            Scope::Young if closed => Scope::Young,
            _ => Scope::All,
        }
    }

    /// A mark has come to its end.
    pub(super) fn marked(&self, scope: Scope) {
        self.closed.store(true, Ordering::Relaxed);
        self.all_known.store(scope == Scope::All, Ordering::Relaxed);
    }

    /// Whether what died before the last collection is known, however old it was. Not so of what earlier openings left
    /// behind, before the first.
    pub fn all_known(&self) -> bool {
        self.all_known.load(Ordering::Relaxed)
    }

    /// What a collection that the store does by itself should look at.
    pub fn wanted(&self) -> Scope {
        let left_out = self.left_out.load(Ordering::Relaxed);
        if left_out > 0 {
            self.left_out.store(left_out - 1, Ordering::Relaxed);
            return Scope::All;
        }
        Scope::Young
    }

    /// A collection of the young found `swept` bytes dead of `written`: true if older extents need not be
    /// looked at. A store whose writes replace what is old has few that die young.
    pub fn paid(&self, swept: u64, written: u64) -> bool {
        let paid = swept >= written / 2;
        let leave_out = match paid {
            true => 0,
            false => (self.leave_out.load(Ordering::Relaxed) * 2).clamp(1, LEFT_OUT_MAX),
        };
        self.leave_out.store(leave_out, Ordering::Relaxed);
        self.left_out.store(leave_out, Ordering::Relaxed);
        paid
    }
}

#[cfg(test)]
mod tests {
    use super::{Generations, LEFT_OUT_MAX, Scope};

    /// Goal: marks are trusted after a mark that has ended, and only once for each.
    #[test]
    fn marks_are_trusted_after_a_whole_mark_only() {
        let generations = Generations::default();
        assert_eq!(generations.begin(Scope::Young), Scope::All);
        // That one did not come to its end.
        assert_eq!(generations.begin(Scope::Young), Scope::All);
        assert!(!generations.all_known());
        generations.marked(Scope::All);
        assert!(generations.all_known());
        assert_eq!(generations.begin(Scope::Young), Scope::Young);
        assert_eq!(generations.begin(Scope::Young), Scope::All);
        generations.marked(Scope::Young);
        assert!(!generations.all_known(), "what has died of the old is not");
        assert_eq!(generations.begin(Scope::All), Scope::All);
    }

    /// Goal: where nothing dies young that is tried ever less often, and at once again where it paid.
    #[test]
    fn the_young_are_tried_while_it_pays() {
        let generations = Generations::default();
        let mut tried = Vec::new();
        for turn in 0..200 {
            if generations.wanted() == Scope::Young {
                tried.push(turn);
                assert!(!generations.paid(10, 100));
            }
        }
        let gaps: Vec<u32> = tried.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(gaps[..5], [2, 3, 5, 9, 17]);
        assert!(gaps.iter().all(|gap| *gap <= LEFT_OUT_MAX + 1));
        while generations.wanted() != Scope::Young {}
        assert!(generations.paid(50, 100));
        assert_eq!(generations.wanted(), Scope::Young);
    }
}

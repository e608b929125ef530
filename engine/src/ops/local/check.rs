//! `check`: follows every root to everything it reaches, and says what is missing or damaged.

use std::sync::Arc;

use bytes::Bytes;

use super::open::Engine;
use super::reach::{Reach, Seen, Visit};
use crate::error::{Error, Result};
use crate::format::SegmentId;
use crate::ops::{ByteString, CheckRequest, Checked, Damage, Exchange, Stage, Step};
use crate::store::{Key, Root, RootKind};

impl Engine {
    pub fn check(&self, request: CheckRequest, exchange: &mut dyn Exchange) -> Result<Checked> {
        let mut check = Check::default();
        for damage in self.store.health().damage {
            check.checked.damage.push(Damage {
                reached_from: None,
                message: format!(
                    "segment {} at byte {}: {}",
                    damage.segment, damage.offset, damage.what
                ),
            });
        }
        let audit = self.store.block_on(self.store.audit())?;
        let unlisted = audit.wrong - audit.first_wrong.len() as u64;
        check.checked.live = audit.live;
        check.checked.dead = audit.dead;
        let more = (unlisted > 0).then(|| format!("and {unlisted} more contradictions"));
        for message in audit.first_wrong.into_iter().chain(more) {
            check.checked.damage.push(Damage {
                reached_from: None,
                message,
            });
        }
        let mut reach = Reach::new(self, request.read_data, Stage::Checking, exchange);
        for root in self.all_roots() {
            check.checked.roots += 1;
            reach.root(&root, &mut check, exchange)?;
        }
        let Check { seen, mut checked } = check;
        if request.read_data {
            self.check_unreached(&mut checked, seen, exchange)?;
        }
        Ok(checked)
    }

    /// Reads and verifies what is on the device and was not reached.
    fn check_unreached(&self, checked: &mut Checked, seen: Seen, exchange: &mut dyn Exchange) -> Result<()> {
        let seen = Arc::new(seen);
        let count = self.store.segment_count();
        for segment in 0..count {
            if exchange.cancel().is_cancelled() {
                return Err(Error::Cancelled);
            }
            let seen = Arc::clone(&seen);
            let unreached = move |key: &Key| !seen.has(key);
            let scrub = self.store.scrub_segment(SegmentId(segment), unreached);
            let scrubbed = self.store.block_on(scrub)?;
            let Some(scrubbed) = scrubbed else { continue };
            checked.bytes += scrubbed.bytes;
            let damaged = scrubbed.damaged.into_iter().map(|extent| extent.what);
            let footer = scrubbed
                .footer_damaged
                .then(|| format!("segment {segment}: the footer is damaged"));
            checked.damage.extend(damaged.chain(footer).map(|message| Damage {
                reached_from: None,
                message,
            }));
            (exchange.reporter())(Step {
                items: segment.into(),
                items_total: Some(count.into()),
                bytes: checked.bytes,
                ..Step::begin(Stage::Checking)
            });
        }
        Ok(())
    }
}

#[derive(Default)]
struct Check {
    seen: Seen,
    checked: Checked,
}

impl Visit for Check {
    fn reach(&mut self, _: Option<&Key>, child: &Key, floor_ns: u64) -> bool {
        self.seen.reach(child, floor_ns)
    }

    fn passed(&mut self, _: &Key, bytes: Option<&Bytes>) {
        self.checked.extents += 1;
        self.checked.bytes += bytes.map_or(0, |bytes| bytes.len() as u64);
    }

    fn damaged(&mut self, root: &Root, error: &Error) {
        self.checked.damage.push(Damage {
            reached_from: match root.kind {
                RootKind::Branch | RootKind::Tag => Some(ByteString::from(&root.name[..])),
                _ => None,
            },
            message: error.to_string(),
        });
    }
}

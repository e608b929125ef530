//! `check`: follows every root to everything it reaches, and says what is missing or damaged.

use bytes::Bytes;

use super::open::Engine;
use super::reach::{Reach, Seen, Visit};
use crate::error::{Error, Result};
use crate::ops::{ByteString, CheckRequest, Checked, Damage, Exchange, Stage};
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
        let mut reach = Reach::new(self, request.read_data, Stage::Checking, exchange);
        for root in self.all_roots() {
            check.checked.roots += 1;
            reach.root(&root, &mut check, exchange)?;
        }
        Ok(check.checked)
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

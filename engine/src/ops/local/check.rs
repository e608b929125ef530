//! `check`: follows every root to everything it reaches, and says what is missing or damaged.
//!
//! Nodes, commits and manifests are always read, because what they refer to is found in them; contents are only
//! looked up in the index, or with `read_data` read and verified. Memory is bounded by the number of extents (40
//! bytes each), not by their size. Damage never ends a check: what hangs on a damaged node is not reached, and the
//! damage says so.

use std::collections::HashSet;

use super::open::Engine;
use crate::error::{Error, Result};
use crate::format::manifest::Manifest;
use crate::format::{ContentId, Domain, Kind};
use crate::ops::{ByteString, CheckRequest, Checked, Damage, Exchange, Reporter, Stage, Step};
use crate::store::{Key, Root, RootKind};
use crate::trees::{branch_references, commit_references, references};

/// Bytes read at once; at least one extent.
const READ_BYTES: u64 = 16 << 20;
/// Extents looked up at once.
const LOOK_UPS: usize = 4096;

impl Engine {
    pub fn check(&self, request: CheckRequest, exchange: &mut dyn Exchange) -> Result<Checked> {
        let mut check = Check {
            engine: self,
            read_data: request.read_data,
            seen: HashSet::new(),
            checked: Checked::default(),
            reporter: exchange.reporter(),
        };
        for damage in self.store.health().damage {
            check.checked.damage.push(Damage {
                reached_from: None,
                message: format!(
                    "segment {} at byte {}: {}",
                    damage.segment, damage.offset, damage.what
                ),
            });
        }
        let kinds = [
            RootKind::Branch,
            RootKind::Tag,
            RootKind::Pin,
            RootKind::Workspace,
        ];
        for kind in kinds {
            for root in self.store.roots(kind) {
                check.root(&root, exchange)?;
            }
        }
        Ok(check.checked)
    }
}

struct Check<'a> {
    engine: &'a Engine,
    read_data: bool,
    seen: HashSet<Key>,
    checked: Checked,
    reporter: Reporter,
}

impl Check<'_> {
    fn root(&mut self, root: &Root, exchange: &dyn Exchange) -> Result<()> {
        self.checked.roots += 1;
        let mut start: Vec<(Kind, ContentId)> = root
            .target
            .iter()
            .map(|target| (target.kind, target.id))
            .collect();
        if root.kind == RootKind::Branch {
            match branch_references(&root.data) {
                Ok(earlier) => start.extend(earlier),
                Err(error) => self.damaged(root, &error),
            }
        }
        // Depth first by batches: what waits is bounded by depth times the width of a batch.
        let mut waiting = Vec::new();
        self.enqueue(root.domain, start, &mut waiting);
        while !waiting.is_empty() {
            if exchange.cancel().is_cancelled() {
                return Err(Error::Cancelled);
            }
            let batch = self.batch(&mut waiting);
            if self.read_data || batch[0].kind != Kind::Data {
                self.read(root, &batch, &mut waiting);
            } else {
                self.look_up(root, &batch);
            }
            (self.reporter)(Step {
                items: self.checked.extents,
                bytes: self.checked.bytes,
                ..Step::begin(Stage::Checking)
            });
        }
        Ok(())
    }

    fn enqueue(&mut self, domain: Domain, found: Vec<(Kind, ContentId)>, waiting: &mut Vec<Key>) {
        for (kind, id) in found {
            let key = Key { domain, kind, id };
            if self.seen.insert(key) {
                waiting.push(key);
            }
        }
    }

    /// The next extents, all treated alike and together not too large.
    fn batch(&self, waiting: &mut Vec<Key>) -> Vec<Key> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(key) = waiting.last() {
            let alike = batch
                .first()
                .is_none_or(|first: &Key| (first.kind == Kind::Data) == (key.kind == Kind::Data));
            let reads = self.read_data || key.kind != Kind::Data;
            let length = if reads {
                u64::from(self.engine.store.length(*key).unwrap_or(0))
            } else {
                0
            };
            if !alike || batch.len() == LOOK_UPS || (bytes + length > READ_BYTES && !batch.is_empty()) {
                break;
            }
            bytes += length;
            batch.extend(waiting.pop());
        }
        batch
    }

    fn look_up(&mut self, root: &Root, batch: &[Key]) {
        for (key, found) in batch.iter().zip(self.engine.store.contains(batch)) {
            if found {
                self.checked.extents += 1;
            } else {
                self.damaged(root, &missing(key));
            }
        }
    }

    fn read(&mut self, root: &Root, batch: &[Key], waiting: &mut Vec<Key>) {
        let read = self.engine.store.block_on(self.engine.store.get_many(batch));
        for (key, bytes) in batch.iter().zip(read) {
            let bytes = match bytes {
                Ok(bytes) => bytes,
                Err(Error::NotFound { .. }) => {
                    self.damaged(root, &missing(key));
                    continue;
                }
                Err(error) => {
                    self.damaged(root, &error);
                    continue;
                }
            };
            self.checked.extents += 1;
            self.checked.bytes += bytes.len() as u64;
            let malformed = |reason: String| Error::invalid(format!("{} {}", key.kind, key.id), reason);
            let found = match key.kind {
                Kind::Node => references(&bytes).map_err(|damage| malformed(damage.to_string())),
                Kind::Commit => commit_references(&bytes).map_err(|damage| malformed(damage.to_string())),
                Kind::Manifest => Manifest::decode_any(bytes)
                    .map(|(_, manifest)| manifest.pieces().filter_map(|piece| piece.target()).collect())
                    .map_err(|damage| malformed(damage.to_string())),
                Kind::Data | Kind::VolumeNode | Kind::Root => Ok(Vec::new()),
            };
            match found {
                Ok(found) => self.enqueue(root.domain, found, waiting),
                Err(error) => self.damaged(root, &error),
            }
        }
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

fn missing(key: &Key) -> Error {
    Error::not_found(format!("{} {}, which the store refers to,", key.kind, key.id))
}

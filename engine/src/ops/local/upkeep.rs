//! `gc` and `scrub`: giving space back, and finding and mending damage.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::open::Engine;
use crate::error::{Error, Result};
use crate::format::{ContentId, Kind, SegmentId};
use crate::objects::pieces;
use crate::ops::{
    CollectRequest, Collected, DamagedExtent, Exchange, QuotaRequest, ScrubRequest, Scrubbed, Stage, Step,
    WhyRequest,
};
use crate::store::{self, Expect, Extent, Key, OpenOptions, RootChange, RootKind, RootUpdate, Store};
use crate::trees::TreeTrace;

/// Setting that says where an unfinished scrub goes on.
const SCRUB: &[u8] = b"scrub";
/// Names that a damaged extent is listed with.
const KEEPERS_MAX: u64 = 4;
/// Damaged extents whose names are looked for.
const NAMED_MAX: usize = 32;
/// Longest pause of a throttled scrub: it can be ended after that.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Segments between two notes of how far a scrub is.
const SEGMENTS_PER_NOTE: u32 = 64;

impl Engine {
    pub fn collect(&self, request: CollectRequest, exchange: &mut dyn Exchange) -> Result<Collected> {
        let store = &self.store;
        let expired = if request.dry_run {
            self.trees.expired(store.now_ns())?.len()
        } else {
            store.block_on(self.trees.expire())?.0.len()
        };
        (exchange.reporter())(Step::begin(Stage::Following));
        let found = store.block_on(store.collect(Arc::new(TreeTrace), request.dry_run))?;
        let mut collected = Collected {
            dry_run: request.dry_run,
            expired_branches: expired as u64,
            alive: found.marked,
            forgotten: found.swept,
            forgotten_bytes: found.swept_bytes,
            segments_freed: found.segments_freed,
            ..Collected::default()
        };
        let space = store.space();
        if !request.dry_run {
            // What is dead in segments that also hold living extents; moving those pays for most of it.
            let dead = space.sealed_bytes.saturating_sub(space.live_bytes);
            let cleaned = store.block_on(store.clean(dead / space.segment_bytes))?;
            collected.moved_bytes = cleaned.moved_bytes;
            collected.segments_freed += cleaned.segments_freed;
            collected.unreadable = cleaned.unreadable;
        }
        collected.freed_bytes = collected.segments_freed * space.segment_bytes;
        if !request.dry_run && !self.trees.quotas()?.is_empty() {
            self.quota(QuotaRequest::Measure, exchange)?;
        }
        Ok(collected)
    }

    pub fn scrub(&self, request: ScrubRequest, exchange: &mut dyn Exchange) -> Result<Scrubbed> {
        let store = &self.store;
        let count = store.segment_count();
        let noted = store.root(RootKind::Setting, SCRUB);
        let position = noted.and_then(|root| Some(u32::from_le_bytes(root.data[..].try_into().ok()?)));
        let from = position.filter(|at| !request.restart && *at < count).unwrap_or(0);
        let mut scrubbed = Scrubbed {
            resumed: from > 0,
            ..Scrubbed::default()
        };
        let mut damaged: Vec<store::DamagedExtent> = Vec::new();
        let clock = store.runtime().clock();
        let began = clock.now();
        for segment in from..count {
            if exchange.cancel().is_cancelled() {
                self.note_scrub(Some(segment))?;
                return Err(Error::Cancelled);
            }
            let Some(found) = store.block_on(store.scrub_segment(SegmentId(segment), |_| true))? else {
                continue;
            };
            scrubbed.segments += 1;
            scrubbed.extents += found.extents;
            scrubbed.bytes += found.bytes;
            scrubbed.repaired += found.repaired;
            scrubbed.footers_damaged += u64::from(found.footer_damaged);
            damaged.extend(found.damaged);
            (exchange.reporter())(Step {
                items: u64::from(segment - from),
                items_total: Some(u64::from(count - from)),
                bytes: scrubbed.bytes,
                ..Step::begin(Stage::Checking)
            });
            if segment % SEGMENTS_PER_NOTE == SEGMENTS_PER_NOTE - 1 {
                self.note_scrub(Some(segment + 1))?;
            }
            if let Some(rate) = request.bytes_per_second {
                let due = Duration::from_secs_f64(scrubbed.bytes as f64 / rate.max(1) as f64);
                let early = due.saturating_sub(clock.now().since(began));
                store.block_on(store.sleep(early.min(PAUSE_MAX)));
            }
        }
        self.note_scrub(None)?;
        scrubbed.anchors_damaged = store.block_on(store.scrub_anchors())?;
        if !damaged.is_empty() {
            scrubbed.repaired += self.repair(&damaged, &request)?;
        }
        for (number, extent) in damaged.into_iter().enumerate() {
            // Those that were written anew are where they were no longer.
            if store.block_on(store.get(extent.key)).is_ok() {
                continue;
            }
            let kept_by = if number < NAMED_MAX {
                self.keepers(&extent.key, exchange)
            } else {
                Vec::new()
            };
            scrubbed.damage.push(DamagedExtent {
                id: extent.key.id,
                kind: extent.key.kind.to_string(),
                segment: extent.segment.0,
                offset: extent.offset.into(),
                bytes: extent.len.into(),
                message: extent.what,
                kept_by,
            });
        }
        Ok(scrubbed)
    }

    /// Notes the segment where a scrub goes on, or that it is finished.
    fn note_scrub(&self, segment: Option<u32>) -> Result<()> {
        let known = self.store.root(RootKind::Setting, SCRUB).is_some();
        let change = match segment {
            Some(segment) => RootChange::Set {
                target: None,
                data: segment.to_le_bytes().to_vec().into(),
            },
            None if known => RootChange::Delete,
            None => return Ok(()),
        };
        let mut batch = self.store.batch();
        batch.set_root(RootUpdate {
            kind: RootKind::Setting,
            name: SCRUB.into(),
            expect: Expect::Any,
            change,
        });
        self.store.block_on(batch.submit())?;
        Ok(())
    }

    /// Names and paths that lead to an extent, as far as they can be followed.
    fn keepers(&self, key: &Key, exchange: &dyn Exchange) -> Vec<String> {
        let request = WhyRequest {
            what: key.id.to_string().into(),
            limit: KEEPERS_MAX,
        };
        let Ok(kept) = self.why(&request, exchange) else {
            return Vec::new();
        };
        let shown = kept.keepers.iter().map(|keeper| {
            let name = &keeper.name;
            match &keeper.path {
                Some(path) => format!("{name}:{path}"),
                None => name.to_string(),
            }
        });
        shown.collect()
    }

    /// Looks for copies of damaged extents in the sources given, and writes them anew.
    fn repair(&self, damaged: &[store::DamagedExtent], request: &ScrubRequest) -> Result<u64> {
        let mut wanted: HashMap<ContentId, Vec<Key>> = HashMap::new();
        for extent in damaged {
            wanted.entry(extent.key.id).or_default().push(extent.key);
        }
        let mut repaired = 0;
        for source in &request.repair_from {
            let path = source.as_path();
            let failed = |error| Error::path("read", path, error);
            if path.is_dir() {
                repaired += self.repair_from_directory(path, &mut wanted)?;
            } else if let Ok(other) = open_source(path) {
                repaired += self.repair_from_store(&other, &mut wanted)?;
                other.close()?;
            } else {
                repaired += self.repair_from_file(File::open(path).map_err(failed)?, &mut wanted)?;
            }
        }
        Ok(repaired)
    }

    fn repair_from_store(&self, other: &Store, wanted: &mut HashMap<ContentId, Vec<Key>>) -> Result<u64> {
        let keys: Vec<Key> = wanted.values().flatten().copied().collect();
        let mut repaired = 0;
        for keys in keys.chunks(16) {
            let copies = other.block_on(other.get_many(keys));
            let extents = keys.iter().zip(copies).filter_map(|(key, bytes)| {
                Some(Extent {
                    key: *key,
                    bytes: bytes.ok()?,
                })
            });
            repaired += self.store.block_on(self.store.repair(extents.collect()))?;
        }
        Ok(repaired)
    }

    fn repair_from_directory(
        &self,
        directory: &Path,
        wanted: &mut HashMap<ContentId, Vec<Key>>,
    ) -> Result<u64> {
        let mut repaired = 0;
        let mut waiting = vec![directory.to_owned()];
        while let Some(directory) = waiting.pop() {
            let entries = std::fs::read_dir(&directory);
            let entries = entries.map_err(|error| Error::path("read", &directory, error))?;
            for entry in entries.flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => waiting.push(entry.path()),
                    // What can't be read is no source; the next one may be.
                    Ok(kind) if kind.is_file() => {
                        if let Ok(file) = File::open(entry.path()) {
                            repaired += self.repair_from_file(file, wanted)?;
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(repaired)
    }

    fn repair_from_file(&self, file: File, wanted: &mut HashMap<ContentId, Vec<Key>>) -> Result<u64> {
        let mut copies = Vec::new();
        pieces(file, |id, bytes| {
            let keys = wanted.get(&id).into_iter().flatten();
            for key in keys.filter(|key| key.kind == Kind::Data) {
                copies.push(Extent {
                    key: *key,
                    bytes: bytes.clone(),
                });
            }
        })?;
        for copy in &copies {
            wanted.remove(&copy.key.id);
        }
        self.store.block_on(self.store.repair(copies))
    }
}

/// Another store, opened for reading.
fn open_source(path: &Path) -> Result<Store> {
    let address = crate::device::Address::Path(path.to_owned());
    let options = OpenOptions {
        read_only: true,
        cache_bytes: 0,
        ..OpenOptions::default()
    };
    Store::open(&address, &options)
}

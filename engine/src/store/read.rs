//! Reads: cache, then memory of what is pending, then the device; verified before anyone sees a byte.
//!
//! Reads of one call are sorted by place and neighbours are merged. A caller on a reactor of the store reads through
//! that reactor's own queue, which verifies it (`reading`); any other asks one by mail, and verifies what comes. Nothing
//! is locked across I/O, and a reader writes no line that other readers write.
//! Invariant: bytes leave here only after their id has been recomputed from them.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::Store;
use super::api::Key;
use super::histogram::Class;
use super::index::{IndexKey, Slot};
use super::reading::{Awaiting, Claim, End, reading};
use super::shared::Shared;
use super::verify;
use crate::error::{Error, Result};
use crate::format::SegmentId;
use crate::limits::UNIT_BYTES;
use crate::reactor::{Answer, Local, mailbox};

/// Reads are merged across gaps up to this many bytes.
const GAP_BYTES: u64 = 16 << 10;
/// Longest merged read.
const RUN_BYTES_MAX: u64 = 1 << 20;
/// How often a look-up follows an extent that moves before it gives up.
const MOVES_MAX: usize = 64;

/// One device read, asked of a reactor.
pub(super) struct ReadRequest {
    offset: u64,
    len: usize,
    answer: Answer,
}

/// Serves the read requests of one reactor.
pub(super) async fn serve(local: Local, mut requests: mailbox::Receiver<ReadRequest>) {
    while let Some(request) = requests.recv().await {
        local.read_for(request.offset, request.len, request.answer);
    }
}

/// An extent to be read from the device.
struct Wanted {
    key: Key,
    index_key: IndexKey,
    segment: SegmentId,
    /// In the segment.
    offset: u32,
    len: u32,
    /// On the device.
    at: u64,
}

/// An extent's whole units on the device.
fn units_of(extent: &Wanted) -> (u64, u64) {
    let unit = UNIT_BYTES as u64;
    let start = extent.at / unit * unit;
    let end = (extent.at + u64::from(extent.len)).next_multiple_of(unit);
    (start, end.max(start + unit))
}

/// Neighbouring extents in one read; each with its position in the caller's list.
struct Run {
    start: u64,
    end: u64,
    wanted: Vec<(usize, Wanted)>,
}

/// Sorts by place and merges neighbours.
fn plan(mut wanted: Vec<(usize, Wanted)>) -> Vec<Run> {
    wanted.sort_unstable_by_key(|(_, extent)| extent.at);
    let mut runs: Vec<Run> = Vec::new();
    for (number, extent) in wanted {
        let (start, end) = units_of(&extent);
        match runs.last_mut() {
            Some(run) if start <= run.end + GAP_BYTES && end.max(run.end) - run.start <= RUN_BYTES_MAX => {
                run.end = run.end.max(end);
                run.wanted.push((number, extent));
            }
            _ => runs.push(Run {
                start,
                end,
                wanted: vec![(number, extent)],
            }),
        }
    }
    runs
}

/// Where an extent lies in a read from `start`.
fn range_in(start: u64, extent: &Wanted) -> Range<usize> {
    let from = usize::try_from(extent.at - start).expect("inside the read");
    from..from + extent.len as usize
}

/// Bytes out of a read; copied when they would keep much more memory than they need.
fn cut(whole: &Bytes, range: Range<usize>) -> Bytes {
    if range.len() * 2 < whole.len() {
        Bytes::copy_from_slice(&whole[range])
    } else {
        whole.slice(range)
    }
}

impl Store {
    /// The verified bytes of one extent.
    pub async fn get(&self, key: Key) -> Result<Bytes> {
        let shared = self.shared();
        let index_key = shared.index_key(&key);
        shared.index.prefetch(&index_key);
        if let Some(bytes) = shared.cache.get(&index_key) {
            return Ok(bytes);
        }
        let clock = self.runtime().clock();
        let asked = clock.now();
        let slot = shared.index.get(&index_key);
        let (class, answer) = match locate(shared, &key, &index_key, slot) {
            Place::Nowhere => return Err(not_found(&key)),
            Place::Memory(bytes) => (Class::GetHit, Ok(bytes)),
            Place::Device(extent) => {
                let answer = match self.read_one(&extent).await {
                    Ok(bytes) => Ok(bytes),
                    Err(failed) => Box::pin(self.look_again(extent, failed)).await,
                };
                (Class::GetDevice, answer)
            }
        };
        let took = clock.now().0.saturating_sub(asked.0);
        shared.latencies.record(class, took);
        answer
    }

    /// The answer to a read that failed, maybe because the extent has moved and its old place was used anew: then it is
    /// read from where it is now. A reader so needs no hold on the place it reads.
    async fn look_again(&self, mut extent: Wanted, mut failed: Error) -> Result<Bytes> {
        let shared = self.shared();
        let mut same_place = 0;
        loop {
            let slot = shared.index.get(&extent.index_key);
            let now = match locate(shared, &extent.key, &extent.index_key, slot) {
                Place::Nowhere => return Err(not_found(&extent.key)),
                Place::Memory(bytes) => return Ok(bytes),
                Place::Device(now) => now,
            };
            if now.at == extent.at {
                // Once more: it may have left and come back.
                same_place += 1;
                if same_place > 1 || matches!(failed, Error::Closed) {
                    return Err(failed);
                }
            }
            extent = now;
            match self.read_one(&extent).await {
                Ok(bytes) => return Ok(bytes),
                Err(again) => failed = again,
            }
        }
    }

    async fn read_one(&self, extent: &Wanted) -> Result<Bytes> {
        let (start, end) = units_of(extent);
        let range = range_in(start, extent);
        let claim = || {
            Some(Claim {
                key: extent.key,
                range: range.clone(),
            })
        };
        let answer = self.ask(start, end, claim).await.await;
        let (buffer, holds) = match answer {
            Some(End {
                read: Ok(buffer),
                holds,
            }) => (buffer, holds),
            failed => return Err(unread(self.shared(), extent, &failed)),
        };
        let holds = holds.unwrap_or_else(|| verify::holds(&extent.key, &buffer[range.clone()]));
        let whole = Bytes::from_owner(buffer);
        judged(self.shared(), extent, cut(&whole, range), whole.len(), holds)
    }

    /// The verified bytes of many extents, in the order asked; reads are sorted by location and merged.
    pub async fn get_many(&self, keys: &[Key]) -> Vec<Result<Bytes>> {
        self.get_through(keys, |key| self.shared().cache.get(key)).await
    }

    /// As [`get_many`](Self::get_many), past the cache.
    pub(super) async fn get_many_anew(&self, keys: &[Key]) -> Vec<Result<Bytes>> {
        self.get_through(keys, |_| None).await
    }

    async fn get_through(
        &self,
        keys: &[Key],
        cached: impl Fn(&IndexKey) -> Option<Bytes>,
    ) -> Vec<Result<Bytes>> {
        let shared = self.shared();
        let clock = self.runtime().clock();
        let asked = clock.now();
        let index_keys = shared.index_keys(keys);
        let mut answers: Vec<Option<Result<Bytes>>> =
            index_keys.iter().map(|key| cached(key).map(Ok)).collect();
        let missing: Vec<usize> = (0..keys.len())
            .filter(|number| answers[*number].is_none())
            .collect();
        let missing_keys: Vec<IndexKey> = missing.iter().map(|number| index_keys[*number]).collect();
        let mut slots = Vec::with_capacity(missing.len());
        shared.index.get_many(&missing_keys, &mut slots);
        let mut wanted = Vec::new();
        for (number, slot) in missing.into_iter().zip(slots) {
            match locate(shared, &keys[number], &index_keys[number], slot) {
                Place::Nowhere => answers[number] = Some(Err(not_found(&keys[number]))),
                Place::Memory(bytes) => answers[number] = Some(Ok(bytes)),
                Place::Device(extent) => wanted.push((number, extent)),
            }
        }
        let class = if wanted.is_empty() {
            Class::GetHit
        } else {
            Class::GetDevice
        };
        if !wanted.is_empty() {
            for (number, extent, failed) in self.read_runs(plan(wanted), &mut answers).await {
                answers[number] = Some(Box::pin(self.look_again(extent, failed)).await);
            }
        }
        shared
            .latencies
            .record(class, clock.now().0.saturating_sub(asked.0));
        answers
            .into_iter()
            .map(|answer| answer.expect("every key was answered"))
            .collect()
    }

    /// Reads all runs at once; what has arrived together is verified together. Returns what failed.
    async fn read_runs(
        &self,
        runs: Vec<Run>,
        answers: &mut [Option<Result<Bytes>>],
    ) -> Vec<(usize, Wanted, Error)> {
        let mut failures = Vec::new();
        let shared = self.shared();
        let mut asked = VecDeque::with_capacity(runs.len());
        for run in runs {
            let answer = self.ask(run.start, run.end, || None).await;
            asked.push_back((run, answer));
        }
        let mut arrived = Vec::new();
        while let Some((run, answer)) = asked.pop_front() {
            arrived.push((run, answer.await));
            while let Some(answer) = asked.front_mut().and_then(|(_, answer)| answer.try_take()) {
                arrived.extend(asked.pop_front().map(|(run, _)| (run, Some(answer))));
            }
            let mut extents = Vec::new();
            let mut pieces = Vec::new();
            for (run, read) in arrived.drain(..) {
                let whole = match read {
                    Some(End { read: Ok(buffer), .. }) => Bytes::from_owner(buffer),
                    failed => {
                        for (number, extent) in run.wanted {
                            let failure = unread(shared, &extent, &failed);
                            failures.push((number, extent, failure));
                        }
                        continue;
                    }
                };
                for (number, extent) in run.wanted {
                    pieces.push(cut(&whole, range_in(run.start, &extent)));
                    extents.push((number, extent, whole.len()));
                }
            }
            let items: Vec<(Key, &[u8])> = extents
                .iter()
                .zip(&pieces)
                .map(|((_, extent, _), bytes)| (extent.key, &bytes[..]))
                .collect();
            let holds = verify::hold(&items);
            for (((number, extent, held), bytes), holds) in extents.into_iter().zip(pieces).zip(holds) {
                match judged(shared, &extent, bytes, held, holds) {
                    Ok(bytes) => answers[number] = Some(Ok(bytes)),
                    Err(failure) => failures.push((number, extent, failure)),
                }
            }
        }
        failures
    }

    /// Starts a device read of whole units; waits only for room in a mailbox. The claim is looked at by a reactor that is
    /// the caller's own only: hashing for others would keep it from its device.
    async fn ask(&self, start: u64, end: u64, claim: impl FnOnce() -> Option<Claim>) -> Awaiting {
        let len = usize::try_from(end - start).expect("a run is at most 1 MiB and an extent");
        self.shared().counters.read(len as u64);
        let (answer, awaiting) = {
            let here = self.runtime().local();
            if let Some(local) = here {
                let (answer, awaiting) = reading(claim());
                local.read_for(start, len, answer);
                return awaiting;
            }
            reading(None)
        };
        let request = ReadRequest {
            offset: start,
            len,
            answer,
        };
        // A request that comes back is dropped, and whoever awaits it learns that nothing will come.
        let _ = self.reader().send(request).await;
        awaiting
    }
}

/// The answer for an extent whose bytes have been verified, or found to be others.
fn judged(shared: &Shared, extent: &Wanted, bytes: Bytes, read: usize, holds: bool) -> Result<Bytes> {
    if !holds {
        return Err(Error::Damaged {
            id: extent.key.id,
            kind: extent.key.kind,
            segment: extent.segment,
            offset: u64::from(extent.offset),
            damage: "its bytes do not have its id".into(),
        });
    }
    let held = if bytes.len() * 2 < read { bytes.len() } else { read };
    shared.cache.insert(extent.index_key, &bytes, held);
    Ok(bytes)
}

/// The error of a read that brought nothing; without an end the store was closed meanwhile.
fn unread(shared: &Shared, extent: &Wanted, end: &Option<End>) -> Error {
    match end.as_ref().and_then(|end| end.read.as_ref().err()) {
        None => Error::Closed,
        Some(source) => Error::Device {
            device: shared.name.clone(),
            operation: "read",
            offset: extent.at,
            source: std::io::Error::new(source.kind(), source.to_string()),
        },
    }
}

fn not_found(key: &Key) -> Error {
    Error::not_found(format!("{} {}", key.kind, key.id))
}

/// Where an extent is now.
enum Place {
    Nowhere,
    Memory(Bytes),
    Device(Wanted),
}

fn locate(shared: &Shared, key: &Key, index_key: &IndexKey, mut slot: Option<Slot>) -> Place {
    for _ in 0..MOVES_MAX {
        match slot {
            None => return Place::Nowhere,
            Some(Slot::Stored {
                segment,
                offset,
                stored_len,
            }) => {
                return Place::Device(Wanted {
                    key: *key,
                    index_key: *index_key,
                    segment,
                    offset,
                    len: stored_len,
                    at: shared.places.offset(segment, u64::from(offset)),
                });
            }
            Some(Slot::Pending {
                slot: number, item, ..
            }) => {
                if let Some(batch) = shared.pending.find(number, item, key) {
                    shared.counters.pending_hit();
                    return Place::Memory(batch.extents[item as usize].bytes.clone());
                }
                slot = shared.index.get(index_key);
            }
        }
    }
    // An extent leaves the pending table once. So this is another one, whose key the index takes for the same.
    Place::Nowhere
}

//! Reads: cache, then memory of what is pending, then the device; verified before anyone sees a byte.
//!
//! Reads of one call are sorted by place and neighbours are merged. Nothing is locked across I/O, and a reader writes
//! no line that other readers write.
//! Invariant: bytes leave here only after their id has been recomputed from them.

use bytes::Bytes;

use super::Store;
use super::api::Key;
use super::histogram::Class;
use super::index::{IndexKey, Slot};
use super::shared::Shared;
use crate::device::DmaBuffer;
use crate::error::{Error, Result};
use crate::format::{ContentId, Kind, SegmentId};
use crate::hash;
use crate::limits::UNIT_BYTES;
use crate::reactor::{Local, mailbox, oneshot};

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
    reply: oneshot::Sender<std::io::Result<DmaBuffer>>,
}

/// Serves the read requests of one reactor.
pub(super) async fn serve(local: Local, mut requests: mailbox::Receiver<ReadRequest>) {
    while let Some(request) = requests.recv().await {
        let task = local.clone();
        local.spawn(async move {
            let answer = match task.buffer(request.len) {
                Ok(buffer) => {
                    let (buffer, result) = task.read(request.offset, buffer, 0..request.len).await;
                    result.map(|()| buffer)
                }
                Err(error) => Err(std::io::Error::other(error)),
            };
            // A caller that has gone away needs no answer.
            let _ = request.reply.send(answer);
        });
    }
}

/// An extent to be read from the device.
struct Wanted {
    /// Position in the caller's list.
    number: usize,
    segment: SegmentId,
    offset: u32,
    len: u32,
    at: u64,
}

/// Neighbouring extents in one read.
struct Run {
    start: u64,
    end: u64,
    wanted: Vec<Wanted>,
}

/// Sorts by place and merges neighbours.
fn plan(mut wanted: Vec<Wanted>) -> Vec<Run> {
    let unit = UNIT_BYTES as u64;
    wanted.sort_unstable_by_key(|extent| extent.at);
    let mut runs: Vec<Run> = Vec::new();
    for extent in wanted {
        let start = extent.at / unit * unit;
        let end = (extent.at + u64::from(extent.len))
            .next_multiple_of(unit)
            .max(start + unit);
        match runs.last_mut() {
            Some(run) if start <= run.end + GAP_BYTES && end.max(run.end) - run.start <= RUN_BYTES_MAX => {
                run.end = run.end.max(end);
                run.wanted.push(extent);
            }
            _ => runs.push(Run {
                start,
                end,
                wanted: vec![extent],
            }),
        }
    }
    runs
}

/// Recomputes ids; the answer says for each extent whether its bytes are what its key names.
fn verify(items: &[(Key, Bytes)]) -> Vec<bool> {
    let mut holds = vec![false; items.len()];
    for kind in [Kind::Data, Kind::Node, Kind::Commit, Kind::VolumeNode] {
        let of_kind: Vec<usize> = (0..items.len())
            .filter(|item| items[*item].0.kind == kind)
            .collect();
        let contents: Vec<&[u8]> = of_kind.iter().map(|item| items[*item].1.as_ref()).collect();
        let ids: Vec<ContentId> = hash::typed_ids(kind, &contents);
        for (item, id) in of_kind.into_iter().zip(ids) {
            holds[item] = id == items[item].0.id;
        }
    }
    for (item, (key, bytes)) in items.iter().enumerate() {
        if key.kind == Kind::Manifest {
            // Stored under the content's id: it has a checksum of its own, and its chunks are verified one by one.
            holds[item] = crate::format::manifest::is_whole(bytes);
        }
    }
    holds
}

/// Bytes of one extent out of a read; copied when they would keep much more memory than they need.
fn cut(whole: &Bytes, from: usize, len: usize) -> Bytes {
    if len * 2 < whole.len() {
        Bytes::copy_from_slice(&whole[from..from + len])
    } else {
        whole.slice(from..from + len)
    }
}

impl Store {
    /// The verified bytes of one extent.
    pub async fn get(&self, key: Key) -> Result<Bytes> {
        let shared = self.shared();
        if let Some(bytes) = shared.cache.get(&shared.index_key(&key)) {
            return Ok(bytes);
        }
        self.get_many(&[key]).await.pop().expect("one answer per key")
    }

    /// The verified bytes of many extents, in the order asked; reads are sorted by location and merged.
    pub async fn get_many(&self, keys: &[Key]) -> Vec<Result<Bytes>> {
        let shared = self.shared();
        let clock = self.runtime().clock();
        let start = clock.now();
        let index_keys: Vec<IndexKey> = keys.iter().map(|key| shared.index_key(key)).collect();
        let mut answers: Vec<Option<Result<Bytes>>> = index_keys
            .iter()
            .map(|key| shared.cache.get(key).map(Ok))
            .collect();
        let missing: Vec<usize> = (0..keys.len())
            .filter(|number| answers[*number].is_none())
            .collect();
        let missing_keys: Vec<IndexKey> = missing.iter().map(|number| index_keys[*number]).collect();
        let mut slots = Vec::with_capacity(missing.len());
        shared.index.get_many(&missing_keys, &mut slots);
        let mut wanted = Vec::new();
        for (number, slot) in missing.into_iter().zip(slots) {
            match locate(shared, &keys[number], &index_keys[number], slot) {
                Place::Nowhere => {
                    let key = keys[number];
                    answers[number] = Some(Err(Error::not_found(format!("{} {}", key.kind, key.id))));
                }
                Place::Memory(bytes) => answers[number] = Some(Ok(bytes)),
                Place::Device(segment, offset, len) => {
                    let at = shared.places.offset(segment, u64::from(offset));
                    wanted.push(Wanted {
                        number,
                        segment,
                        offset,
                        len,
                        at,
                    });
                }
            }
        }
        let class = if wanted.is_empty() {
            Class::GetHit
        } else {
            Class::GetDevice
        };
        if !wanted.is_empty() {
            self.read_runs(plan(wanted), keys, &index_keys, &mut answers)
                .await;
        }
        shared
            .latencies
            .record(class, clock.now().0.saturating_sub(start.0));
        answers
            .into_iter()
            .map(|answer| answer.expect("every key was answered"))
            .collect()
    }

    async fn read_runs(
        &self,
        runs: Vec<Run>,
        keys: &[Key],
        index_keys: &[IndexKey],
        answers: &mut [Option<Result<Bytes>>],
    ) {
        let shared = self.shared();
        let mut asked = Vec::with_capacity(runs.len());
        for run in runs {
            let (reply, answer) = oneshot::oneshot();
            let len = usize::try_from(run.end - run.start).expect("a run is at most 1 MiB and an extent");
            let request = ReadRequest {
                offset: run.start,
                len,
                reply,
            };
            shared.counters.read(len as u64);
            let sent = self.reader().send(request).await.is_ok();
            asked.push((run, answer, sent));
        }
        for (run, answer, sent) in asked {
            let read = if sent { answer.await } else { None };
            let whole = match read {
                Some(Ok(buffer)) => Bytes::from_owner(buffer),
                failed => {
                    let reason = failed.and_then(Result::err);
                    for extent in run.wanted {
                        answers[extent.number] = Some(Err(match &reason {
                            None => Error::Closed,
                            Some(source) => Error::Device {
                                device: shared.name.clone(),
                                operation: "read",
                                offset: extent.at,
                                source: std::io::Error::new(source.kind(), source.to_string()),
                            },
                        }));
                    }
                    continue;
                }
            };
            let items: Vec<(Key, Bytes)> = run
                .wanted
                .iter()
                .map(|extent| {
                    let from = usize::try_from(extent.at - run.start).expect("inside the run");
                    (keys[extent.number], cut(&whole, from, extent.len as usize))
                })
                .collect();
            let holds = verify(&items);
            for ((extent, (key, bytes)), holds) in run.wanted.iter().zip(items).zip(holds) {
                answers[extent.number] = Some(if holds {
                    let held = if bytes.len() * 2 < whole.len() {
                        bytes.len()
                    } else {
                        whole.len()
                    };
                    shared.cache.insert(index_keys[extent.number], &bytes, held);
                    Ok(bytes)
                } else {
                    Err(Error::Damaged {
                        id: key.id,
                        kind: key.kind,
                        segment: extent.segment,
                        offset: u64::from(extent.offset),
                        damage: "its bytes do not have its id".into(),
                    })
                });
            }
        }
    }
}

/// Where an extent is now.
enum Place {
    Nowhere,
    Memory(Bytes),
    Device(SegmentId, u32, u32),
}

fn locate(shared: &Shared, key: &Key, index_key: &IndexKey, mut slot: Option<Slot>) -> Place {
    for _ in 0..MOVES_MAX {
        match slot {
            None => return Place::Nowhere,
            Some(Slot::Stored {
                segment,
                offset,
                stored_len,
            }) => return Place::Device(segment, offset, stored_len),
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
    unreachable!("an extent leaves the pending table once")
}

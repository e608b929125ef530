//! One client: does the operations of its plan and tells the model what it was answered.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::content::Content;
use super::model::{Model, Violation};
use super::owned::domain_of;
use super::plan::Operation;
use super::tally::Tally;
use super::{branches, commits, forget, maintenance, temporary};
use crate::device::sim::SimDevice;
use crate::error::Error;
use crate::format::Domain;
use crate::objects::{Durability, Objects, Put, PutOptions};
use crate::reactor::oneshot;
use crate::store::Store;
use crate::trees::{Trees, WorkingTree};

/// Fewer failed commands than this never end writing: headers and footers are tried so often.
const FAULTS_THAT_END_WRITING: u64 = 4;

/// What all clients of an opening share.
#[derive(Clone)]
pub(super) struct Stage {
    pub store: Store,
    pub device: Arc<SimDevice>,
    pub model: Arc<Mutex<Model>>,
    pub tally: Arc<Mutex<Tally>>,
    /// Media may be damaged: errors are no violations.
    pub damaged: bool,
    /// The store may collect by itself at any time.
    pub by_itself: bool,
    /// What clients that are done have put: held for the others.
    pub held: Arc<Mutex<Vec<Put>>>,
}

impl Stage {
    /// The contents of a domain, hashed on this thread.
    pub fn objects(&self, domain: Domain) -> Objects {
        let objects = Objects::new(self.store.clone()).in_domain(domain);
        objects.with_threads(NonZero::<usize>::MIN)
    }
}

/// One client in one opening.
pub(super) struct Client {
    pub number: usize,
    pub stage: Stage,
    pub trees: Trees,
    pub objects: Objects,
    /// Those of the branch all share.
    pub shared: Trees,
    /// Working trees by slot.
    pub open: std::collections::BTreeMap<u8, WorkingTree>,
    /// Leases.
    puts: Vec<(Content, Put)>,
}

/// Why a client does not go on.
#[derive(Debug)]
pub(super) enum Stop {
    /// The store or its device gave up; the last operation's outcome is unknown.
    Over,
    /// The store did wrong.
    Wrong(Violation),
}

impl From<Violation> for Stop {
    fn from(violation: Violation) -> Stop {
        Stop::Wrong(violation)
    }
}

pub(super) fn durability(durable: bool) -> Durability {
    match durable {
        true => Durability::Durable,
        false => Durability::Visible,
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let puts = self.puts.drain(..).map(|(_, put)| put);
        self.stage.held.lock().extend(puts);
    }
}

impl Client {
    pub fn new(number: usize, stage: Stage) -> Client {
        Client {
            number,
            trees: Trees::new(stage.store.clone(), domain_of(number)),
            objects: stage.objects(domain_of(number)),
            shared: Trees::new(stage.store.clone(), Domain(0)),
            stage,
            open: Default::default(),
            puts: Vec::new(),
        }
    }

    /// Does all operations, or stops where the store gives up.
    pub async fn run(mut self, operations: Vec<Operation>) -> Result<(), Violation> {
        for operation in &operations {
            self.stage.tally.lock().count(operation.word());
            match self.step(operation).await {
                Ok(()) => {}
                Err(Stop::Over) => return Ok(()),
                Err(Stop::Wrong(Violation(what))) => {
                    return Violation::new(format!("client {}, {operation:?}: {what}", self.number));
                }
            }
        }
        Ok(())
    }

    async fn step(&mut self, operation: &Operation) -> Result<(), Stop> {
        match operation {
            Operation::Put(contents, durable) => self.put(contents, *durable).await,
            Operation::Stream(content, durable) => self.stream(*content, *durable).await,
            Operation::Get(which) => self.get(*which).await,
            Operation::GetMany(which, count) => self.get_many(*which, *count).await,
            Operation::Range(which, from, len) => self.range(*which, *from, *len).await,
            Operation::Release => {
                self.release();
                Ok(())
            }
            Operation::Pin(which, shared, durable) => self.pin(*which, *shared, *durable).await,
            Operation::Unpin(which, durable) => self.unpin(*which, *durable).await,
            Operation::Commit {
                slot,
                edits,
                durable,
                fresh,
            } => commits::commit(self, *slot, edits, *durable, *fresh).await,
            Operation::CommitMain(edits, durable) => commits::commit_main(self, edits, *durable).await,
            Operation::Branch(slot, from, durable) => branches::create(self, *slot, *from, *durable).await,
            Operation::Rename(slot, to, durable) => branches::rename(self, *slot, *to, *durable).await,
            Operation::Delete(slot, durable) => branches::delete(self, *slot, *durable).await,
            Operation::Rollback(slot, back, durable) => {
                branches::roll_back(self, *slot, *back, *durable).await
            }
            Operation::Tag {
                slot,
                branch,
                back,
                durable,
            } => forget::tag(self, *slot, *branch, *back, *durable).await,
            Operation::Untag(slot, durable) => forget::untag(self, *slot, *durable).await,
            Operation::Forget {
                slot,
                last,
                tagged,
                durable,
            } => forget::forget(self, *slot, *last, *tagged, *durable).await,
            Operation::Temporary(from, micros, durable) => {
                temporary::create(self, *from, *micros, *durable).await
            }
            Operation::Expire(durable) => temporary::expire(self, *durable).await,
            Operation::Read(slot) => branches::read(self, *slot).await,
            Operation::Flush => self.flush().await,
            Operation::Pause(micros) => {
                self.pause(Duration::from_micros(*micros)).await;
                Ok(())
            }
            Operation::Maintain(what) => maintenance::maintain(self, *what).await,
        }
    }

    /// What an error means: `Ok` is a refusal that changed nothing.
    pub fn judge(&self, error: &Error) -> Result<(), Stop> {
        let device = &self.stage.device;
        let hopeless = self.stage.damaged || device.is_dead();
        let excused = hopeless || device.faults_injected() > 0;
        match error {
            Error::Full { .. } | Error::DiskFull { .. } => {
                self.stage.tally.lock().count("refused: full");
                Ok(())
            }
            // Writing ends only after failures that follow each other.
            Error::Fenced { .. } | Error::ReadOnly { .. }
                if hopeless || device.faults_injected() >= FAULTS_THAT_END_WRITING =>
            {
                Err(Stop::Over)
            }
            Error::Device { .. } | Error::Closed if excused => Err(Stop::Over),
            _ if self.stage.damaged => Err(Stop::Over),
            error => Err(Stop::Wrong(Violation(format!("answered with: {error}")))),
        }
    }

    /// What is found is not what the client has left there: older states are no violation where media are damaged.
    pub fn astray<T>(&self, what: impl Into<String>) -> Result<T, Stop> {
        Err(match self.stage.damaged {
            true => Stop::Over,
            false => Stop::Wrong(Violation(what.into())),
        })
    }

    /// As [`judge`](Self::judge), for an operation that changes what the client owns.
    pub fn judge_change(&self, error: &Error) -> Result<(), Stop> {
        self.judge(error)?;
        self.stage.model.lock().refused(self.number);
        Ok(())
    }

    /// Notes the answer to a change of what the client owns.
    pub fn done(&self, durable: bool) {
        self.stage.model.lock().done(self.number, durable);
    }

    async fn put(&mut self, contents: &[Content], durable: bool) -> Result<(), Stop> {
        let bytes: Vec<Bytes> = contents.iter().map(|content| content.bytes()).collect();
        let options = PutOptions {
            durability: durability(durable),
            pin: false,
        };
        self.stage.model.lock().writes(self.domain(), contents);
        let answer = self.objects.put_batch(&bytes, options).await;
        match answer {
            Ok(puts) => {
                for (put, content) in puts.iter().zip(contents) {
                    if put.id != content.id() || put.length != u64::from(content.len) {
                        Violation::new(format!("{content} was put as {} of {}", put.id, put.length))?;
                    }
                }
                self.puts.extend(contents.iter().copied().zip(puts));
                let mut model = self.stage.model.lock();
                model.wrote(self.domain(), contents);
                model.put(self.domain(), contents, durable);
                Ok(())
            }
            Err(error) => self.judge_write(&error, contents),
        }
    }

    /// As [`judge`](Self::judge), for an attempt to store contents.
    pub fn judge_write(&self, error: &Error, contents: &[Content]) -> Result<(), Stop> {
        self.judge(error)?;
        self.stage.model.lock().wrote(self.domain(), contents);
        Ok(())
    }

    /// Holds nothing any more that was put.
    fn release(&mut self) {
        let contents: Vec<Content> = self.puts.iter().map(|(content, _)| *content).collect();
        self.stage.model.lock().released(self.domain(), &contents);
        self.puts.clear();
    }

    /// Where it works.
    pub fn domain(&self) -> Domain {
        domain_of(self.number)
    }

    async fn stream(&mut self, content: Content, durable: bool) -> Result<(), Stop> {
        self.stage.model.lock().writes(self.domain(), &[content]);
        let mut stream = self.objects.put_stream(PutOptions {
            durability: durability(durable),
            pin: false,
        });
        for piece in content.bytes().chunks(100_000) {
            if let Err(error) = stream.write(piece).await {
                return self.judge_write(&error, &[content]);
            }
        }
        match stream.finish().await {
            Ok(put) if put.id == content.id() => {
                self.puts.push((content, put));
                let mut model = self.stage.model.lock();
                model.wrote(self.domain(), &[content]);
                model.put(self.domain(), &[content], durable);
                Ok(())
            }
            Ok(put) => Ok(Violation::new(format!("{content} was streamed as {}", put.id))?),
            Err(error) => self.judge_write(&error, &[content]),
        }
    }

    /// Judges an answer to reading (part of) a content.
    fn compare(&self, content: Content, expected: &[u8], answer: Result<Bytes, Error>) -> Result<(), Stop> {
        match answer {
            Ok(bytes) if bytes == expected => Ok(()),
            Ok(_) => Ok(Violation::new(format!("{content} was read as other bytes"))?),
            // It may have been collected meanwhile.
            Err(Error::NotFound { .. }) if !self.stage.model.lock().is_promised(self.domain(), content) => {
                Ok(())
            }
            Err(Error::Device { .. }) if self.stage.device.faults_injected() > 0 => Ok(()),
            Err(_) if self.stage.damaged => Ok(()),
            Err(error) => self.judge(&error),
        }
    }

    async fn get(&mut self, which: u64) -> Result<(), Stop> {
        let content = self
            .stage
            .model
            .lock()
            .some_content(which, self.domain(), |_| true);
        let Some(content) = content else { return Ok(()) };
        let answer = self.objects.get(content.id()).await;
        self.compare(content, &content.bytes(), answer)
    }

    async fn get_many(&mut self, which: u64, count: u64) -> Result<(), Stop> {
        let contents: Vec<Content> = {
            let model = self.stage.model.lock();
            let which = (0..count).map(|number| which.wrapping_add(number * 7));
            which
                .filter_map(|which| model.some_content(which, self.domain(), |_| true))
                .collect()
        };
        let ids: Vec<_> = contents.iter().map(|content| content.id()).collect();
        for (content, answer) in contents.iter().zip(self.objects.get_batch(&ids).await) {
            self.compare(*content, &content.bytes(), answer)?;
        }
        Ok(())
    }

    async fn range(&mut self, which: u64, from: u32, len: u32) -> Result<(), Stop> {
        let content = self
            .stage
            .model
            .lock()
            .some_content(which, self.domain(), |_| true);
        let Some(content) = content.filter(|content| content.len >= from) else {
            return Ok(());
        };
        let range = u64::from(from)..u64::from(from + len);
        let answer = self.objects.get_range(content.id(), range).await;
        let expected = content.bytes();
        let end = expected.len().min((from + len) as usize);
        self.compare(content, &expected[from as usize..end], answer)
    }

    async fn pin(&mut self, which: u64, shared: bool, durable: bool) -> Result<(), Stop> {
        let owner = (!shared).then_some(self.number);
        let count = {
            let mut model = self.stage.model.lock();
            let ours = |content: &Content| content.owner() == owner;
            let Some(content) = model.some_content(which, self.domain(), ours) else {
                return Ok(());
            };
            let count = model.owned(self.number).pins.get(&content).copied().unwrap_or(0) + 1;
            model.begin(self.number, |owned| {
                owned.pins.insert(content, count);
            });
            (content, count)
        };
        let answer = self.objects.pin(count.0.id(), durability(durable)).await;
        self.counted(count, answer, durable)
    }

    async fn unpin(&mut self, which: u64, durable: bool) -> Result<(), Stop> {
        let count = {
            let mut model = self.stage.model.lock();
            let pins = model.owned(self.number).pins;
            let Some(place) = which.checked_rem(pins.len() as u64) else {
                return Ok(());
            };
            let (content, count) = pins
                .into_iter()
                .nth(usize::try_from(place).unwrap_or(0))
                .expect("below their number");
            model.begin(self.number, |owned| match count {
                1 => drop(owned.pins.remove(&content)),
                _ => drop(owned.pins.insert(content, count - 1)),
            });
            (content, count - 1)
        };
        let answer = self.objects.unpin(count.0.id(), durability(durable)).await;
        self.counted(count, answer, durable)
    }

    fn counted(
        &self,
        (content, count): (Content, u64),
        answer: Result<u64, Error>,
        durable: bool,
    ) -> Result<(), Stop> {
        match answer {
            // Others count their own.
            Ok(found) if found == count || content.owner().is_none() && found > count => {
                self.done(durable);
                Ok(())
            }
            Ok(found) => self.astray(format!("{content} has {found} pins instead of {count}")),
            Err(error) => self.judge_change(&error),
        }
    }

    async fn flush(&mut self) -> Result<(), Stop> {
        let moment = self.stage.model.lock().moment();
        match self.stage.store.flush().await {
            Ok(()) => {
                self.stage.model.lock().flushed(moment);
                Ok(())
            }
            Err(error) => self.judge(&error),
        }
    }

    async fn pause(&self, time: Duration) {
        pause(&self.stage.store, time).await;
    }
}

/// Lets virtual time pass, on a reactor or outside.
pub(super) async fn pause(store: &Store, time: Duration) {
    let (sender, receiver) = oneshot();
    store.runtime().handles()[0].spawn(move |local| async move {
        local.sleep(time).await;
        // Who no longer waits needs no answer.
        let _ = sender.send(());
    });
    receiver.await;
}

//! The queue over worker threads that read and write with ordinary system calls.
//!
//! For places without io_uring. Workers start as commands need them, up to [`WORKERS_MAX`] per queue, and take
//! commands from one bounded channel. A command moves into its worker with its buffer, so lent memory needs no
//! `unsafe` here; dropping the queue drops commands nobody has begun and joins the workers.
//!
//! Rejected: workers shared by the queues of a target. It saves threads where there are few, and a queue's
//! end would have to be tracked command by command.

use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, mem};

use crossbeam::channel::{Receiver, Sender, bounded};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::FallocateFlags;
use rustix::io::{Errno, ReadWriteFlags, retry_on_intr};

use crate::command::{Admission, Command, Completion, Operation};
use crate::memory::{Buffer, Mapping, zeroes};
use crate::queue::{Queue, sleep_on};
use crate::target::{Target, punch_hole};
use crate::{Error, Result};

/// Workers of one queue.
const WORKERS_MAX: usize = 16;
/// Largest queue.
const DEPTH_MAX: u32 = 4096;

/// A queue of commands carried out by threads of its own.
pub struct Threads<B: Buffer> {
    target: Arc<Target>,
    depth: u32,
    jobs: Option<Sender<Command<B>>>,
    /// For new workers, and for taking back what nobody has begun.
    begun: Receiver<Command<B>>,
    finished: Arc<Finished<B>>,
    workers: Vec<JoinHandle<()>>,
    /// Commands given to workers and not handed over.
    running: u32,
    /// Completions that needed no worker.
    ready: Vec<Completion<B>>,
    /// Emptied into by `poll`; kept for its capacity.
    collected: Vec<Completion<B>>,
}

/// What workers hand back.
struct Finished<B> {
    completions: Mutex<Vec<Completion<B>>>,
    /// How many there are, so that polling takes no lock when there are none.
    count: AtomicUsize,
    /// The owner sleeps, or is about to look whether it may.
    sleeping: AtomicBool,
    bell: Arc<OwnedFd>,
}

impl<B: Buffer> Threads<B> {
    /// A queue for at most `depth` commands in flight.
    pub fn open(target: Arc<Target>, depth: u32) -> Result<Threads<B>> {
        let failed = |source| Error::Resources {
            what: "open a queue",
            source,
        };
        if depth == 0 || depth > DEPTH_MAX {
            let reason = format!("its depth is {depth}, not 1 to {DEPTH_MAX}");
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, reason)));
        }
        let bell = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC);
        let (jobs, begun) = bounded(depth as usize);
        let mut queue = Threads {
            target,
            depth,
            jobs: Some(jobs),
            begun,
            finished: Arc::new(Finished {
                completions: Mutex::new(Vec::new()),
                count: AtomicUsize::new(0),
                sleeping: AtomicBool::new(false),
                bell: Arc::new(bell.map_err(|errno| failed(errno.into()))?),
            }),
            workers: Vec::new(),
            running: 0,
            ready: Vec::new(),
            collected: Vec::new(),
        };
        queue.start_worker().map_err(failed)?;
        Ok(queue)
    }

    fn start_worker(&mut self) -> io::Result<()> {
        let (target, finished, jobs) = (self.target.clone(), self.finished.clone(), self.begun.clone());
        let worker = std::thread::Builder::new()
            .name("fallback-io".to_owned())
            .spawn(move || jobs.iter().for_each(|job| finished.push(run(&target, job))))?;
        self.workers.push(worker);
        Ok(())
    }
}

impl<B> Finished<B> {
    /// Completions are whole even if a panic elsewhere poisoned the lock.
    fn lock(&self) -> MutexGuard<'_, Vec<Completion<B>>> {
        self.completions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, completion: Completion<B>) {
        let mut completions = self.lock();
        completions.push(completion);
        self.count.store(completions.len(), Ordering::Release);
        drop(completions);
        // The owner says that it sleeps before it looks at the list for the last time, both under or before
        // this lock: either it has seen the completion, or we see that it sleeps.
        if self.sleeping.swap(false, Ordering::SeqCst) {
            // Only a counter overflow can fail, and then it is readable already.
            let _ = rustix::io::write(&self.bell, &counter(1));
        }
    }
}

impl<B: Buffer> Queue<B> for Threads<B> {
    fn submit(&mut self, command: Command<B>) -> Result<(), Command<B>> {
        if self.in_flight() >= self.depth {
            return Err(command);
        }
        match command.operation.admit(&self.target) {
            Ok(Admission::Run) => {}
            Ok(Admission::Done) => {
                self.ready.push(command.complete(Ok(())));
                return Ok(());
            }
            Err(error) => {
                self.ready.push(command.complete(Err(error)));
                return Ok(());
            }
        }
        if (self.running as usize) >= self.workers.len() && self.workers.len() < WORKERS_MAX {
            // Without another thread it takes longer; the first one exists since the queue was opened.
            let _ = self.start_worker();
        }
        let Some(jobs) = &self.jobs else {
            return Err(command);
        };
        jobs.try_send(command).map_err(|error| error.into_inner())?;
        self.running += 1;
        Ok(())
    }

    fn poll(&mut self, mut done: impl FnMut(Completion<B>)) {
        if self.finished.count.load(Ordering::Acquire) > 0 {
            let mut completions = self.finished.lock();
            mem::swap(&mut *completions, &mut self.collected);
            self.finished.count.store(0, Ordering::Release);
            drop(completions);
            self.running -= self.collected.len() as u32;
            self.collected.drain(..).for_each(&mut done);
        } else if self.running > 0 {
            // A thread that spins must not keep its own workers from running.
            std::thread::yield_now();
        }
        self.ready.drain(..).for_each(done);
    }

    fn wait(&mut self, doorbell: &Arc<OwnedFd>, timeout: Option<Duration>) {
        if !self.ready.is_empty() {
            return;
        }
        self.finished.sleeping.store(true, Ordering::SeqCst);
        if self.finished.lock().is_empty() {
            sleep_on(&[doorbell, &self.finished.bell], timeout);
        }
        if !self.finished.sleeping.swap(false, Ordering::SeqCst) {
            // A worker has rung, or is about to: the latter leaves a wake without reason for the next time.
            let _ = rustix::io::read(&self.finished.bell, &mut counter(0));
        }
    }

    fn in_flight(&self) -> u32 {
        self.running + self.ready.len() as u32
    }

    fn register(&mut self, _mapping: &Arc<Mapping>) -> Option<u16> {
        None
    }
}

impl<B: Buffer> Drop for Threads<B> {
    fn drop(&mut self) {
        self.jobs = None;
        self.begun.try_iter().for_each(drop);
        for worker in self.workers.drain(..) {
            // A panic in a worker has been printed; the others still have to end.
            let _ = worker.join();
        }
    }
}

/// The counter an `eventfd` is written and read with, in the byte order the kernel wants: the host's.
#[allow(clippy::host_endian_bytes, reason = "the kernel takes it in host order")]
fn counter(value: u64) -> [u8; 8] {
    value.to_ne_bytes()
}

/// Carries out one admitted command.
fn run<B: Buffer>(target: &Target, mut command: Command<B>) -> Completion<B> {
    let operation = command.operation.name();
    let result = match &mut command.operation {
        Operation::Read {
            offset,
            buffer,
            range,
        } => read(target, *offset, &mut buffer.as_mut()[range.clone()]),
        Operation::Write {
            offset,
            buffer,
            range,
            durable,
        } => write(
            target,
            operation,
            *offset,
            &buffer.as_ref()[range.clone()],
            *durable,
        ),
        Operation::Flush => retry_on_intr(|| rustix::fs::fdatasync(target)).map_err(|errno| Error::System {
            operation,
            offset: 0,
            len: target.capacity(),
            errno,
        }),
        Operation::Discard { offset, len } => fallocate(target, operation, punch_hole(), *offset, *len),
        Operation::Allocate { offset, len } => {
            fallocate(target, operation, FallocateFlags::KEEP_SIZE, *offset, *len)
        }
        Operation::WriteZeroes { offset, len } => write_zeroes(target, *offset, *len),
    };
    command.complete(result)
}

/// Where to go on after a transfer moved `moved` bytes: direct I/O cannot go on in the middle of a block.
fn whole(target: &Target, moved: usize) -> usize {
    moved - moved % target.alignment() as usize
}

fn read(target: &Target, mut offset: u64, mut memory: &mut [u8]) -> Result<()> {
    while !memory.is_empty() {
        let len = memory.len() as u64;
        let failed = |errno| Error::System {
            operation: "read",
            offset,
            len,
            errno,
        };
        let moved = retry_on_intr(|| rustix::io::pread(target, &mut *memory, offset)).map_err(failed)?;
        if moved == 0 {
            return Err(Error::Ended {
                operation: "read",
                offset,
                missing: len,
            });
        }
        let moved = if moved == memory.len() {
            moved
        } else {
            whole(target, moved)
        };
        if moved == 0 {
            // Less than a block: the file ends here, in the middle of one.
            return Err(failed(Errno::IO));
        }
        memory = &mut memory[moved..];
        offset += moved as u64;
    }
    Ok(())
}

fn write(
    target: &Target,
    operation: &'static str,
    mut offset: u64,
    mut memory: &[u8],
    durable: bool,
) -> Result<()> {
    while !memory.is_empty() {
        let len = memory.len() as u64;
        let failed = |errno| Error::System {
            operation,
            offset,
            len,
            errno,
        };
        let moved = retry_on_intr(|| {
            if durable {
                rustix::io::pwritev2(target, &[IoSlice::new(memory)], offset, ReadWriteFlags::DSYNC)
            } else {
                rustix::io::pwrite(target, memory, offset)
            }
        })
        .map_err(failed)?;
        let moved = if moved == memory.len() {
            moved
        } else {
            whole(target, moved)
        };
        if moved == 0 {
            return Err(failed(Errno::IO));
        }
        memory = &memory[moved..];
        offset += moved as u64;
    }
    Ok(())
}

fn write_zeroes(target: &Target, mut offset: u64, mut len: u64) -> Result<()> {
    let zeroes = zeroes().map_err(|source| Error::Resources {
        what: "map zeroes",
        source,
    })?;
    while len > 0 {
        let piece = len.min(zeroes.len() as u64);
        write(target, "write zeroes", offset, &zeroes[..piece as usize], false)?;
        offset += piece;
        len -= piece;
    }
    Ok(())
}

fn fallocate(
    target: &Target,
    operation: &'static str,
    flags: FallocateFlags,
    offset: u64,
    len: u64,
) -> Result<()> {
    retry_on_intr(|| rustix::fs::fallocate(target, flags, offset, len)).map_err(|errno| Error::System {
        operation,
        offset,
        len,
        errno,
    })
}

#[cfg(test)]
#[path = "threads_tests.rs"]
mod tests;

//! Sockets of a reactor: which of them can be read or written now, and who waits for that.
//!
//! One `epoll` instance per reactor, made with its first socket, edge-triggered: the kernel says once that something has
//! changed, and a socket counts as ready from then on until an attempt on it would block. The doorbell is in the same
//! instance, so a sleeping reactor waits for both as for one descriptor, whatever its device waits with.
//!
//! Invariants: no borrow is held while a waker runs; a socket that is dropped is forgotten before its descriptor is closed.
//! Rejected: commands of the device's own `io_uring` (there is none under the other adapters); level-triggered waiting (a
//! client whose task is not ready to read would keep the reactor awake).

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::time::Timespec;

use crate::device::Doorbell;

use super::executor::Core;
use super::local::Local;
use super::slab::{Slab, SlabKey};

/// Events taken in one look; what is left comes with the next.
const EVENTS_PER_LOOK: usize = 64;
/// What the kernel says of the doorbell; no token of a socket.
const BELL: u64 = u64::MAX;

/// One direction of a socket.
struct Side {
    is_ready: bool,
    waiting: Option<Waker>,
}

impl Side {
    fn new() -> Side {
        // Nothing is known: the first attempt tells.
        Side {
            is_ready: true,
            waiting: None,
        }
    }
}

struct Place {
    reading: Side,
    writing: Side,
}

/// The sockets of one reactor.
pub(super) struct Sockets {
    epoll: Option<Doorbell>,
    places: Slab<Place>,
    events: Vec<Event>,
}

impl Sockets {
    pub(super) fn new() -> Sockets {
        Sockets {
            epoll: None,
            places: Slab::new(),
            events: Vec::new(),
        }
    }

    /// What a sleep of the reactor watches instead of its doorbell: that and all sockets.
    pub(super) fn bell(&self) -> Option<&Doorbell> {
        self.epoll.as_ref().filter(|_| self.places.len() > 0)
    }

    fn epoll(&mut self, doorbell: &Doorbell) -> io::Result<Doorbell> {
        if let Some(known) = &self.epoll {
            return Ok(known.clone());
        }
        let made: OwnedFd = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&made, doorbell.fd(), EventData::new_u64(BELL), EventFlags::IN)?;
        let made = Doorbell::around(Arc::new(made));
        self.epoll = Some(made.clone());
        Ok(made)
    }

    fn add(&mut self, doorbell: &Doorbell, socket: &impl AsFd) -> io::Result<SlabKey> {
        let epoll = self.epoll(doorbell)?;
        let key = self.places.insert_with(|_| Place {
            reading: Side::new(),
            writing: Side::new(),
        });
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        let added = epoll::add(epoll.fd(), socket, EventData::new_u64(key.token()), interest);
        if let Err(error) = added {
            self.places.remove(key);
            return Err(error.into());
        }
        Ok(key)
    }

    fn forget(&mut self, key: SlabKey, socket: &impl AsFd) {
        self.places.remove(key);
        if let Some(epoll) = &self.epoll {
            // A descriptor that somebody closed has left by itself.
            let _ = epoll::delete(epoll.fd(), socket);
        }
    }

    /// Looks at what the kernel has to say. Returns whom to wake.
    fn look(&mut self) -> Vec<Waker> {
        let Some(epoll) = self.epoll.clone() else {
            return Vec::new();
        };
        let mut events = std::mem::take(&mut self.events);
        events.clear();
        events.reserve(EVENTS_PER_LOOK);
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut woken = Vec::new();
        // An interrupted look is made again in the next turn.
        if epoll::wait(
            epoll.fd(),
            rustix::buffer::spare_capacity(&mut events),
            Some(&now),
        )
        .is_ok()
        {
            for event in &events {
                let token = event.data.u64();
                let place = (token != BELL).then(|| self.places.get_mut(SlabKey::from_token(token)));
                let Some(place) = place.flatten() else {
                    // The bell is the sleep's affair; an event of a socket dropped a moment ago is nobody's.
                    continue;
                };
                let flags = event.flags;
                let ended = flags.intersects(EventFlags::ERR | EventFlags::HUP);
                if ended || flags.intersects(EventFlags::IN | EventFlags::RDHUP) {
                    place.reading.is_ready = true;
                    woken.extend(place.reading.waiting.take());
                }
                if ended || flags.contains(EventFlags::OUT) {
                    place.writing.is_ready = true;
                    woken.extend(place.writing.waiting.take());
                }
            }
        }
        self.events = events;
        woken
    }
}

impl Core {
    /// Looks for sockets that have become ready. True if somebody was waiting for one.
    pub(super) fn poll_sockets(&self) -> bool {
        if self.sockets.borrow().bell().is_none() {
            return false;
        }
        let woken = self.sockets.borrow_mut().look();
        let any = !woken.is_empty();
        woken.into_iter().for_each(Waker::wake);
        any
    }
}

/// A socket that belongs to a reactor; it must not block (`O_NONBLOCK`).
///
/// One task may wait to read it and one to write it.
pub struct Watched<T: AsFd> {
    socket: T,
    key: SlabKey,
    core: Rc<Core>,
}

/// One direction.
#[derive(Clone, Copy)]
enum Direction {
    Reading,
    Writing,
}

impl Local {
    /// Gives a socket that does not block to this reactor.
    ///
    /// # Errors
    /// The kernel's, and `Unsupported` in virtual time, where nothing outside may be waited for.
    pub fn watch<T: AsFd>(&self, socket: T) -> io::Result<Watched<T>> {
        let core = Rc::clone(self.core());
        if core.clock.is_virtual() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let key = core.sockets.borrow_mut().add(&core.shared.doorbell, &socket)?;
        Ok(Watched { socket, key, core })
    }
}

impl<T: AsFd> Watched<T> {
    /// The socket.
    pub fn socket(&self) -> &T {
        &self.socket
    }

    /// Tries to read until that does not end in `WouldBlock`.
    pub async fn reading<R>(&self, attempt: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.until_done(Direction::Reading, attempt).await
    }

    /// Tries to write until that does not end in `WouldBlock`.
    pub async fn writing<R>(&self, attempt: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.until_done(Direction::Writing, attempt).await
    }

    fn side<R>(&self, direction: Direction, change: impl FnOnce(&mut Side) -> R) -> R {
        let mut sockets = self.core.sockets.borrow_mut();
        let place = sockets
            .places
            .get_mut(self.key)
            .expect("kept until it is dropped");
        change(match direction {
            Direction::Reading => &mut place.reading,
            Direction::Writing => &mut place.writing,
        })
    }

    async fn until_done<R>(
        &self,
        direction: Direction,
        mut attempt: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        poll_fn(|context| {
            if self.side(direction, |side| side.is_ready) {
                match attempt(&self.socket) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // The next poll tries again.
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    done => return Poll::Ready(done),
                }
            }
            // Nothing is lost between the attempt and this: the kernel reports what came meanwhile at the next look.
            let replaced = self.side(direction, |side| {
                side.is_ready = false;
                side.waiting.replace(context.waker().clone())
            });
            drop(replaced);
            Poll::Pending
        })
        .await
    }
}

impl<T: AsFd> Drop for Watched<T> {
    fn drop(&mut self) {
        self.core.sockets.borrow_mut().forget(self.key, &self.socket);
    }
}

//! Frames over a unix stream socket, with descriptors of passed memory beside them.
//!
//! The pieces here never wait: they do what one system call does and say how far it came. The owner of a store waits between
//! them on a reactor, a client on its thread ([`Conversation`]).
//! Passed memory is read with `pread`, never mapped: its sender may shrink or change it at any time, and a copy that turns out
//! wrong is refused by its ids, where a mapping would end the process.
//! Long bodies are passed because they are at the receiver at once: the stream costs half the time of a memory file, but holds
//! 200 KiB, so that nothing comes ahead to who does not read yet (files of a tree: 25 % of the time of two processors idle).

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::unix::net::UnixStream;

use bytes::{Bytes, BytesMut};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};

use super::frame::{BODY_BYTES_MAX, Frame, HEADER_BYTES, PASSED};

/// Bodies from this length on go through passed memory.
pub const PASSED_FROM: usize = 256 << 10;
/// Slices that one system call writes (`IOV_MAX`).
const SLICES_MAX: usize = 1024;
/// Bytes asked for by one receive, at least.
const RECEIVE_BYTES: usize = 16 << 10;
/// Bytes asked for by one receive, at most.
const RECEIVE_BYTES_MAX: usize = 256 << 10;
/// Descriptors that may wait for their frames.
const DESCRIPTORS_MAX: usize = 8;

/// What has arrived and is not taken yet.
#[derive(Debug, Default)]
pub struct Arrived {
    bytes: BytesMut,
    descriptors: VecDeque<OwnedFd>,
}

fn broken(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Arrived {
    /// Receives once; 0 at the end of the stream.
    ///
    /// # Errors
    /// The system's; `WouldBlock` if nothing is there; `InvalidData` for descriptors that nothing announces.
    pub fn receive(&mut self, socket: impl AsFd) -> io::Result<usize> {
        let before = self.bytes.len();
        let room = (self.bytes.capacity() - before).clamp(RECEIVE_BYTES, RECEIVE_BYTES_MAX);
        self.bytes.resize(before + room, 0);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut self.bytes[before..])],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        );
        let length = received.as_ref().map_or(0, |received| received.bytes);
        self.bytes.truncate(before + length);
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        if self.descriptors.len() > DESCRIPTORS_MAX {
            return Err(broken("descriptors came that no frame announces"));
        }
        received.map(|_| length).map_err(io::Error::from)
    }

    /// Whether a frame has begun to arrive and is not whole yet.
    pub fn has_begun(&self) -> bool {
        !self.bytes.is_empty()
    }

    /// Takes the next frame, its passed memory read into its body; `None` if it is not whole yet.
    ///
    /// # Errors
    /// `InvalidData`: after that nothing in the stream can be trusted.
    pub fn take(&mut self) -> io::Result<Option<Frame>> {
        let Some(mut frame) = Frame::take(&mut self.bytes).map_err(broken)? else {
            return Ok(None);
        };
        if frame.has(PASSED) {
            let memory = self.descriptors.pop_front();
            let memory = memory.ok_or_else(|| broken("a frame announces passed memory, and none came"))?;
            frame.body = read_passed(memory.as_fd(), frame.passed)?;
            frame.passed = 0;
            frame.flags &= !PASSED;
        }
        Ok(Some(frame))
    }
}

/// A memory file with these bytes.
fn pass(parts: &[Bytes]) -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create("helios", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut rest = &mut slices[..];
    let mut done = 0;
    while !rest.is_empty() {
        let most = rest.len().min(SLICES_MAX);
        let written = rustix::io::pwritev(&memory, &rest[..most], done as u64)?;
        done += written;
        IoSlice::advance_slices(&mut rest, written);
    }
    Ok(memory)
}

/// The first bytes of a memory file.
fn read_passed(memory: BorrowedFd<'_>, length: usize) -> io::Result<Bytes> {
    assert!(length <= BODY_BYTES_MAX, "checked when the header was read");
    // Only memory has seals. Anything else might keep the reader waiting.
    let seals: Result<SealFlags, _> = rustix::fs::fcntl_get_seals(memory);
    seals.map_err(|_| broken("what was passed is no memory"))?;
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let done = bytes.len() as u64;
        if rustix::io::pread(memory, spare_capacity(&mut bytes), done)? == 0 {
            return Err(broken("passed memory is shorter than announced"));
        }
    }
    bytes.truncate(length);
    Ok(Bytes::from(bytes))
}

/// A frame on its way out.
#[derive(Debug)]
pub struct Departing {
    header: [u8; HEADER_BYTES],
    frame: Frame,
    memory: Option<OwnedFd>,
    sent: usize,
}

impl Departing {
    /// A frame in one piece.
    pub fn new(mut frame: Frame) -> Departing {
        let body = std::mem::take(&mut frame.body);
        Departing::of_parts(frame, &[body])
    }

    /// A frame without a body, and that in parts. Long ones go through passed memory, where that can be had, and are not put
    /// together before.
    pub fn of_parts(mut frame: Frame, parts: &[Bytes]) -> Departing {
        let length = parts.iter().map(Bytes::len).sum();
        let memory = (length >= PASSED_FROM).then(|| pass(parts).ok()).flatten();
        if memory.is_some() {
            frame.passed = length;
            frame.flags |= PASSED;
        } else {
            frame.body = match parts {
                [whole] => whole.clone(),
                _ => parts.concat().into(),
            };
        }
        Departing {
            header: frame.header(),
            frame,
            memory,
            sent: 0,
        }
    }

    /// Bytes that its sender keeps in memory for it.
    pub fn weight(&self) -> usize {
        self.frame.length() + self.frame.passed
    }

    /// The part of that which is in passed memory.
    pub fn passed(&self) -> usize {
        self.frame.passed
    }

    /// Sends once, without waiting; true when all of it is on its way.
    ///
    /// # Errors
    /// The system's; `WouldBlock` if the socket takes nothing now.
    pub fn send(&mut self, socket: impl AsFd) -> io::Result<bool> {
        let mut skip = self.sent;
        let mut slices = [IoSlice::new(&[]); 3];
        let mut count = 0;
        for part in [&self.header[..], &self.frame.head, &self.frame.body] {
            let rest = &part[skip.min(part.len())..];
            skip -= part.len() - rest.len();
            if !rest.is_empty() {
                slices[count] = IoSlice::new(rest);
                count += 1;
            }
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = self.memory.as_ref().map(|memory| [memory.as_fd()]);
        // Memory goes with the first byte, once.
        if let Some(descriptors) = descriptors.as_ref().filter(|_| self.sent == 0) {
            let pushed = ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
            assert!(pushed, "there is room for one descriptor");
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match rustix::net::sendmsg(&socket, &slices[..count], &mut ancillary, flags) {
            Ok(sent) => self.sent += sent,
            // So many of this user's descriptors are under way that it may send no more.
            Err(Errno::TOOMANYREFS) if self.memory.is_some() => {
                self.take_back()?;
                return self.send(socket);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(self.sent == self.frame.length())
    }

    /// Puts a body that was to be passed into the stream, before anything of the frame was sent.
    fn take_back(&mut self) -> io::Result<()> {
        let Some(memory) = self.memory.take() else {
            return Ok(());
        };
        self.frame.body = read_passed(memory.as_fd(), self.frame.passed)?;
        self.frame.passed = 0;
        self.frame.flags &= !PASSED;
        self.header = self.frame.header();
        Ok(())
    }
}

/// A connection whose thread waits.
#[derive(Debug)]
pub struct Conversation {
    socket: UnixStream,
    arrived: Arrived,
}

impl Conversation {
    /// Over a connected socket that blocks.
    pub fn new(socket: UnixStream) -> Conversation {
        Conversation {
            socket,
            arrived: Arrived::default(),
        }
    }

    /// The socket.
    pub fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// The socket, and what has arrived on it.
    pub fn into_parts(self) -> (UnixStream, Arrived) {
        (self.socket, self.arrived)
    }

    /// Sends a frame; waits until the socket takes it.
    ///
    /// # Errors
    /// The system's.
    pub fn send(&mut self, frame: Frame) -> io::Result<()> {
        let mut departing = Departing::new(frame);
        loop {
            match departing.send(&self.socket) {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match poll(&mut [PollFd::new(&self.socket, PollFlags::OUT)], None) {
                        Ok(_) | Err(Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The next frame; `None` at the end of the stream.
    ///
    /// # Errors
    /// The system's (`WouldBlock` when a read timeout is set and over), `InvalidData` for what is no frame, and
    /// `UnexpectedEof` if the stream ends within one.
    pub fn receive(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.arrived.take()? {
                return Ok(Some(frame));
            }
            match self.arrived.receive(&self.socket) {
                Ok(0) if !self.arrived.has_begun() => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::{END, Kind};

    fn pair() -> (Conversation, Conversation) {
        let (one, other) = UnixStream::pair().expect("a pair");
        (Conversation::new(one), Conversation::new(other))
    }

    /// Goal: frames of every size arrive as they were sent, whatever way their bodies took. Method: bodies around the
    /// length from which memory is passed, several behind each other, sent by one thread and received by another.
    #[test]
    fn bodies_of_every_length_arrive() {
        let lengths = [
            0,
            1,
            1000,
            PASSED_FROM - 1,
            PASSED_FROM,
            PASSED_FROM + 1,
            BODY_BYTES_MAX,
        ];
        let frame = |length: usize| {
            let body: Vec<u8> = (0..length).map(|at| (at * 7 % 253) as u8).collect();
            Frame::new(Kind::Output, length as u64, vec![b'h'; length.min(100_000)])
                .with_body(body)
                .with_flags(END)
        };
        let (mut one, mut other) = pair();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                for length in lengths {
                    one.send(frame(length)).expect("the other side reads");
                }
            });
            for length in lengths {
                assert!(other.receive().expect("sound") == Some(frame(length)), "{length}");
            }
            assert_eq!(other.receive().expect("sound"), None);
        });
    }

    /// Goal: a body in parts arrives like the same in one piece, whatever way it takes. Method: none, empty ones, few, and more
    /// parts than one system call writes.
    #[test]
    fn bodies_in_parts_arrive() {
        let bytes: Vec<u8> = (0..PASSED_FROM + 5000).map(|at| (at * 7 % 253) as u8).collect();
        let cut = |length: usize| -> Vec<Bytes> {
            let parts = bytes.chunks(length).map(Bytes::copy_from_slice);
            parts.chain([Bytes::new()]).collect()
        };
        let none = Bytes::new();
        let cuts = [
            Vec::new(),
            vec![none.clone(), none.clone()],
            vec!["few".into(), none, "parts".into()],
            cut(5000),
            cut(100),
        ];
        assert!(cuts[4].len() > 2 * SLICES_MAX);
        for parts in cuts {
            let (one, mut other) = pair();
            let frame = Frame::new(Kind::Output, 1, &b"head"[..]);
            let mut departing = Departing::of_parts(frame.clone(), &parts);
            assert!(departing.send(&one.socket).expect("room"));
            let whole = frame.with_body(parts.concat());
            assert_eq!(departing.weight(), whole.length());
            assert!(other.receive().expect("sound").as_ref() == Some(&whole));
            // Where no memory can be passed it goes through the stream.
            let mut departing = Departing::of_parts(Frame::new(Kind::Output, 1, &b"head"[..]), &parts);
            departing.take_back().expect("memory");
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    while !departing.send(&one.socket).unwrap_or(false) {
                        std::thread::yield_now();
                    }
                });
                assert!(other.receive().expect("sound") == Some(whole));
            });
        }
    }

    /// Goal: descriptors that lie are refused and never waited for. Method: a pipe in place of memory, memory shorter than
    /// announced, an announcement without a descriptor, descriptors without an announcement.
    #[test]
    fn lying_descriptors_are_refused() {
        let announce = |memory: Option<OwnedFd>, passed: usize| {
            let (one, mut other) = pair();
            let frame = Frame {
                passed,
                flags: PASSED,
                ..Frame::new(Kind::Output, 1, Bytes::new())
            };
            let mut departing = Departing {
                header: frame.header(),
                frame,
                memory,
                sent: 0,
            };
            assert!(departing.send(&one.socket).expect("room"));
            let error = other.receive().expect_err("a lie");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
            error.to_string()
        };
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        assert!(announce(Some(reader.into()), 10).contains("no memory"));
        assert!(announce(Some(pass(&["short".into()]).expect("memory")), 6).contains("shorter"));
        assert!(announce(None, 6).contains("none came"));
        let (one, mut other) = pair();
        for _ in 0..=DESCRIPTORS_MAX {
            let frame = Frame::new(Kind::Output, 1, Bytes::new());
            let mut departing = Departing {
                header: frame.header(),
                frame,
                memory: Some(pass(&["x".into()]).expect("memory")),
                sent: 0,
            };
            assert!(departing.send(&one.socket).expect("room"));
        }
        drop(one);
        let refused = std::iter::from_fn(|| other.receive().transpose()).find_map(Result::err);
        assert!(refused.is_some_and(|error| error.to_string().contains("no frame announces")));
    }

    /// Goal: the end of a stream within a frame is no frame. Method: half of one.
    #[test]
    fn an_end_in_the_middle_is_an_error() {
        use std::io::Write;
        let (one, mut other) = pair();
        let bytes = Frame::new(Kind::Call, 1, &b"{}"[..]).to_bytes();
        one.socket().write_all(&bytes[..10]).expect("room");
        drop(one);
        assert_eq!(
            other.receive().expect_err("half a frame").kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}

//! Frames: a header, a head of JSON, a body of raw bytes.
//!
//! | bytes | field |
//! | --- | --- |
//! | 0..4 | CRC-32 (ISO-HDLC, the one of zlib) of everything after it that is in the stream |
//! | 4..8 | length of the head |
//! | 8..12 | length of the body |
//! | 12..14 | kind |
//! | 14..16 | flags |
//! | 16..24 | number of the call it belongs to |
//!
//! All numbers are little-endian. The head follows, then the body, unless that is in passed memory ([`PASSED`]).
//! Invariant: a reader never holds more than one frame's worth beyond what it has given out, whatever arrives: lengths are
//! checked before a byte of what they announce is waited for.

use bytes::{Buf, Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};

/// Bytes of a header.
pub const HEADER_BYTES: usize = 24;
/// Most bytes of a head.
pub const HEAD_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a body, passed or not.
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// Flag: more frames of this kind and call follow, and their heads belong together.
pub const MORE: u16 = 1;
/// Flag: nothing of this kind follows for this call.
pub const END: u16 = 2;
/// Flag: the body is in a sealed memory file whose descriptor came with the header, from its beginning.
pub const PASSED: u16 = 4;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Kind {
    /// Client: who it is and what it speaks. First of all, once.
    Hello = 1,
    /// Owner: who it is and what is spoken from now on.
    Welcome = 2,
    /// Client: something to be done.
    Call = 3,
    /// Client: bytes that were wanted.
    Input = 4,
    /// Client: the call is to end at its next opportunity; it is answered all the same.
    Cancel = 5,
    /// Owner: it takes that many bytes of input now.
    Want = 6,
    /// Owner: bytes of a content.
    Output = 7,
    /// Owner: how far the call is.
    Progress = 8,
    /// Owner: something skipped or odd.
    Warning = 9,
    /// Owner: the call is done; this came of it.
    Reply = 10,
    /// Owner: the call has failed.
    Failure = 11,
    /// Owner: the connection ends, and why. Calls without an answer have an unknown outcome.
    Goodbye = 12,
}

impl Kind {
    const ALL: [Kind; 12] = [
        Kind::Hello,
        Kind::Welcome,
        Kind::Call,
        Kind::Input,
        Kind::Cancel,
        Kind::Want,
        Kind::Output,
        Kind::Progress,
        Kind::Warning,
        Kind::Reply,
        Kind::Failure,
        Kind::Goodbye,
    ];

    /// The kind with this number.
    pub fn from_number(number: u16) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| *kind as u16 == number)
    }
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// [`MORE`], [`END`], [`PASSED`].
    pub flags: u16,
    /// Which call it belongs to; 0 for none.
    pub call: u64,
    /// JSON, or nothing.
    pub head: Bytes,
    /// Raw bytes; with [`PASSED`] they are elsewhere, and this is empty.
    pub body: Bytes,
    /// Bytes in passed memory; 0 without [`PASSED`].
    pub passed: usize,
}

/// Why bytes are no frame. After that nothing in the stream can be trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The checksum does not match.
    #[error("a frame's checksum is wrong")]
    Checksum,
    /// No kind has this number.
    #[error("a frame is of kind {0}, which this version does not know")]
    Kind(u16),
    /// Flags without a meaning.
    #[error("a frame has flags {0:#x}, which this version does not know")]
    Flags(u16),
    /// Longer than allowed.
    #[error(
        "a frame announces {head} bytes of head and {body} of body; at most {HEAD_BYTES_MAX} and {BODY_BYTES_MAX} are allowed"
    )]
    TooLong {
        /// Announced bytes of the head.
        head: usize,
        /// Announced bytes of the body.
        body: usize,
    },
}

fn number(bytes: &[u8]) -> usize {
    let bytes: [u8; 4] = bytes.try_into().expect("four bytes");
    u32::from_le_bytes(bytes) as usize
}

fn short(bytes: &[u8]) -> u16 {
    u16::from_le_bytes(bytes.try_into().expect("two bytes"))
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32IsoHdlc);
    parts.iter().for_each(|part| digest.update(part));
    u32::try_from(digest.finalize() & 0xffff_ffff).expect("masked to 32 bits")
}

impl Frame {
    /// A frame without a body.
    pub fn new(kind: Kind, call: u64, head: impl Into<Bytes>) -> Frame {
        Frame {
            kind,
            flags: 0,
            call,
            head: head.into(),
            body: Bytes::new(),
            passed: 0,
        }
    }

    /// The same with a body.
    pub fn with_body(mut self, body: impl Into<Bytes>) -> Frame {
        self.body = body.into();
        self
    }

    /// The same with more flags.
    pub fn with_flags(mut self, flags: u16) -> Frame {
        self.flags |= flags;
        self
    }

    /// Whether a flag is set.
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// The header's bytes.
    ///
    /// # Panics
    /// If head or body are longer than allowed: whoever makes frames cuts them.
    pub fn header(&self) -> [u8; HEADER_BYTES] {
        let body = self.body.len() + self.passed;
        assert!(
            self.head.len() <= HEAD_BYTES_MAX && body <= BODY_BYTES_MAX,
            "a frame with {} bytes of head and {body} of body",
            self.head.len()
        );
        let narrow = |length: usize| u32::try_from(length).expect("checked above").to_le_bytes();
        let mut header = [0; HEADER_BYTES];
        header[4..8].copy_from_slice(&narrow(self.head.len()));
        header[8..12].copy_from_slice(&narrow(body));
        header[12..14].copy_from_slice(&(self.kind as u16).to_le_bytes());
        header[14..16].copy_from_slice(&self.flags.to_le_bytes());
        header[16..24].copy_from_slice(&self.call.to_le_bytes());
        let sum = checksum(&[&header[4..], &self.head, &self.body]);
        header[..4].copy_from_slice(&sum.to_le_bytes());
        header
    }

    /// Bytes that the frame takes in the stream.
    pub fn length(&self) -> usize {
        HEADER_BYTES + self.head.len() + self.body.len()
    }

    /// All its bytes in one piece, for small frames and tests.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&self.header()[..], &self.head, &self.body].concat()
    }

    /// Takes the next frame from what has arrived; `None` if it is not whole yet.
    ///
    /// # Errors
    /// What has arrived is no frame.
    pub fn take(arrived: &mut BytesMut) -> Result<Option<Frame>, Broken> {
        let Some(header) = arrived.get(..HEADER_BYTES) else {
            return Ok(None);
        };
        let (head, body) = (number(&header[4..8]), number(&header[8..12]));
        let (kind, flags) = (short(&header[12..14]), short(&header[14..16]));
        if head > HEAD_BYTES_MAX || body > BODY_BYTES_MAX {
            return Err(Broken::TooLong { head, body });
        }
        let kind = Kind::from_number(kind).ok_or(Broken::Kind(kind))?;
        if flags & !(MORE | END | PASSED) != 0 {
            return Err(Broken::Flags(flags));
        }
        let passed = if flags & PASSED != 0 { body } else { 0 };
        let length = HEADER_BYTES + head + body - passed;
        if arrived.len() < length {
            // What is missing comes in as few pieces as the socket allows.
            arrived.reserve(length - arrived.len());
            return Ok(None);
        }
        let call = u64::from_le_bytes(header[16..24].try_into().expect("eight bytes"));
        let mut bytes = arrived.split_to(length).freeze();
        if number(&bytes[..4]) != checksum(&[&bytes[4..]]) as usize {
            return Err(Broken::Checksum);
        }
        bytes.advance(HEADER_BYTES);
        Ok(Some(Frame {
            kind,
            flags,
            call,
            head: bytes.split_to(head),
            body: bytes,
            passed,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Vec<Frame> {
        vec![
            Frame::new(Kind::Hello, 0, &br#"{"versions":[1]}"#[..]),
            Frame::new(Kind::Input, 7, Bytes::new())
                .with_body(vec![1, 2, 3])
                .with_flags(END),
            Frame::new(Kind::Reply, u64::MAX, vec![b'x'; 70_000]).with_body(vec![7; 100_000]),
            Frame {
                passed: 4096,
                flags: PASSED,
                ..Frame::new(Kind::Call, 1, &b"{}"[..])
            },
        ]
    }

    fn stream() -> Vec<u8> {
        frames().iter().flat_map(Frame::to_bytes).collect()
    }

    /// Goal: frames survive a stream that brings them in pieces of any length. Method: pieces of 1 to 5,000 bytes.
    #[test]
    fn frames_come_out_as_they_went_in() {
        for piece in [1, 2, 23, 24, 25, 1000, 5000, usize::MAX] {
            let mut arrived = BytesMut::new();
            let mut out = Vec::new();
            for bytes in stream().chunks(piece.min(1 << 20)) {
                arrived.extend_from_slice(bytes);
                while let Some(frame) = Frame::take(&mut arrived).expect("sound") {
                    out.push(frame);
                }
            }
            assert_eq!(out, frames());
            assert!(arrived.is_empty());
        }
    }

    /// Goal: no changed bit passes. Method: every bit of every frame, one at a time; lengths may also ask for more bytes,
    /// but never for more than is allowed.
    #[test]
    fn a_changed_bit_is_refused() {
        for frame in frames() {
            let bytes = frame.to_bytes();
            let head = 8 * HEADER_BYTES.min(bytes.len());
            let bits = (0..head).chain((head..bytes.len() * 8).step_by(997));
            for bit in bits {
                let mut changed = BytesMut::from(&bytes[..]);
                changed[bit / 8] ^= 1 << (bit % 8);
                match Frame::take(&mut changed) {
                    Err(_) => {}
                    Ok(None) => assert!((32..128).contains(&bit), "bit {bit} made it incomplete"),
                    Ok(Some(other)) => panic!("bit {bit} passed: {other:?}"),
                }
            }
        }
    }

    /// Goal: nothing is allocated for what a header only announces. Method: the largest lengths, all kinds of nonsense.
    #[test]
    fn announced_lengths_are_bounded() {
        let mut header = Frame::new(Kind::Call, 1, Bytes::new()).header();
        header[4..8].fill(0xff);
        let refused = Frame::take(&mut BytesMut::from(&header[..]));
        assert!(matches!(refused, Err(Broken::TooLong { .. })), "{refused:?}");
        let mut header = Frame::new(Kind::Call, 1, Bytes::new()).header();
        header[12] = 99;
        assert_eq!(
            Frame::take(&mut BytesMut::from(&header[..])),
            Err(Broken::Kind(99))
        );
        let mut header = Frame::new(Kind::Call, 1, Bytes::new()).header();
        header[15] = 0x80;
        assert_eq!(
            Frame::take(&mut BytesMut::from(&header[..])),
            Err(Broken::Flags(0x8000))
        );
    }

    /// Goal: the bytes are what the table above says, for ever. Method: one frame, spelled out; its checksum is what
    /// Python's `zlib.crc32` gives.
    #[test]
    fn the_layout_is_fixed() {
        let frame = Frame::new(Kind::Call, 0x0102, &b"{}"[..])
            .with_body(&b"xyz"[..])
            .with_flags(END);
        let bytes = frame.to_bytes();
        assert_eq!(
            bytes[4..],
            [
                2, 0, 0, 0, 3, 0, 0, 0, 3, 0, 2, 0, 2, 1, 0, 0, 0, 0, 0, 0, b'{', b'}', b'x', b'y', b'z'
            ]
        );
        assert_eq!(
            u32::from_le_bytes(bytes[..4].try_into().expect("four")),
            0x01ca_73ea
        );
    }
}

//! What the fuzzers call of this crate: what programs say to a server, and what people write for it.
//!
//! As `fuzzing` of the engine, which says why: the same functions stand behind `engine/fuzz` and an ordinary test over the kept
//! corpus, and each looks at its input as it is and with its checksum made right.
//! Invariant: a function ends without a panic for every input; whatever is wrong with one is an error value.

mod seeds;
#[cfg(test)]
mod tests;

use std::path::Path;

use bytes::BytesMut;
use clap::{CommandFactory, FromArgMatches};
use crc_fast::{CrcAlgorithm, checksum};
use helios_engine::ops::{Failure, Step, Warning};

use crate::cli::args::Cli;
use crate::cli::config::Settings;
use crate::observe::reading::Metrics;
use crate::wire::frame::{BODY_BYTES_MAX, Broken, Frame, HEAD_BYTES_MAX, HEADER_BYTES, PASSED};
use crate::wire::message::{Answer, Call, Goodbye, Hello, Joined, Message, Want, Welcome};

pub use seeds::seeds;

/// A fuzz target: its name and its function.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 4] = [
    ("wire_frames", wire_frames),
    ("wire_messages", wire_messages),
    ("configuration", configuration),
    ("metrics", metrics),
];

/// A stream is cut into the same frames, or found broken at the same place, however it arrives; a frame that is taken is what its
/// bytes say. The first byte of the input says how the stream is cut.
pub fn wire_frames(bytes: &[u8]) {
    let Some((cut, stream)) = bytes.split_first() else {
        return;
    };
    for stream in [stream, &sealed(stream)] {
        let whole = taken(stream, stream.len().max(1));
        assert_eq!(
            taken(stream, usize::from(*cut) + 1),
            whole,
            "by pieces and at once"
        );
        let mut rest = stream;
        for frame in &whole.0 {
            assert!(frame.head.len() <= HEAD_BYTES_MAX && frame.body.len() <= BODY_BYTES_MAX);
            assert!(frame.has(PASSED) || frame.passed == 0);
            let (own, after) = rest.split_at(frame.length());
            assert_eq!(frame.to_bytes(), own, "a frame is its bytes");
            rest = after;
        }
    }
}

/// The frames of a stream that arrives in pieces, and why it ends if not for want of bytes.
fn taken(stream: &[u8], piece: usize) -> (Vec<Frame>, Option<Broken>) {
    let mut arrived = BytesMut::new();
    let mut frames = Vec::new();
    for bytes in stream.chunks(piece) {
        arrived.extend_from_slice(bytes);
        loop {
            match Frame::take(&mut arrived) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(broken) => return (frames, Some(broken)),
            }
        }
    }
    (frames, None)
}

/// The stream with the checksum of its first frame made right.
fn sealed(stream: &[u8]) -> Vec<u8> {
    let mut stream = stream.to_vec();
    let Some(header) = stream.first_chunk::<HEADER_BYTES>() else {
        return stream;
    };
    let number =
        |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize;
    let flags = u16::from_le_bytes([header[14], header[15]]);
    let body = if flags & PASSED == 0 { number(8) } else { 0 };
    let length = HEADER_BYTES.saturating_add(number(4)).saturating_add(body);
    if let Some(rest) = stream.get(4..length) {
        let sum = checksum(CrcAlgorithm::Crc32IsoHdlc, rest).to_le_bytes();
        stream[..4].copy_from_slice(&sum[..4]);
    }
    stream
}

/// The head of a message is refused, or says the same when it is written again. The first byte chooses the kind.
pub fn wire_messages(bytes: &[u8]) {
    let Some((kind, head)) = bytes.split_first() else {
        return;
    };
    match kind % 9 {
        0 => message::<Call>(head),
        1 => message::<Answer>(head),
        2 => message::<Hello>(head),
        3 => message::<Welcome>(head),
        4 => message::<Want>(head),
        5 => message::<Step>(head),
        6 => message::<Warning>(head),
        7 => message::<Failure>(head),
        _ => message::<Goodbye>(head),
    }
}

fn message<M: Message>(head: &[u8]) {
    let Ok(read) = M::read(head) else { return };
    let written = whole(&read);
    let again = M::read(&written).expect("what was written is read");
    // Broken numbers of replies may be rounded when they are read.
    if !written.contains(&b'.') {
        assert_eq!(whole(&again), written);
    }
}

/// The head of a message, put together again from its frames.
fn whole(message: &impl Message) -> Vec<u8> {
    let mut joined = Joined::default();
    let frames = message.frames(1);
    let heads: Vec<_> = frames.iter().filter_map(|frame| joined.take(frame)).collect();
    assert_eq!(heads.len(), 1, "one message");
    heads[0].to_vec()
}

/// A configuration file is refused with one line and a hint, or makes defaults that the command line takes.
pub fn configuration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match Settings::read(Path::new("some.toml"), text) {
        Err(failure) => {
            assert!(!failure.message.contains('\n'), "{:?}", failure.message);
            assert!(failure.hint.is_some());
        }
        Ok(settings) => {
            for command in ["info", "serve"] {
                let arguments = ["helios", command];
                let typed = Cli::command()
                    .try_get_matches_from(arguments)
                    .expect("sound arguments");
                let matches = settings.apply(&typed).try_get_matches_from(arguments);
                let matches = matches.unwrap_or_else(|error| panic!("what was accepted is refused: {error}"));
                Cli::from_arg_matches(&matches).expect("complete arguments");
            }
        }
    }
}

/// A page of metrics is refused, or all that it says can be asked for.
pub fn metrics(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(metrics) = Metrics::read(text) else { return };
    for (family, kind) in &metrics.types {
        if kind == "histogram" {
            for buckets in metrics.histograms(family).values() {
                assert!(buckets.is_sorted_by(|one, other| one.0 < other.0 && one.1 <= other.1));
            }
        } else {
            assert!(metrics.sum(family, &[]).is_some() || metrics.series(family).next().is_none());
        }
    }
}

//! What clients and the owner of a store say to each other: frames on a socket, and the messages in them.
//!
//! Owns the bytes and nothing of their meaning: [`frame`] cuts a stream into checked frames, [`message`] says what is in
//! them ([`extents`] and [`roots`] those about what a store holds), [`stream`] moves them over a unix socket. The protocol is
//! described in `engine/PROTOCOL.md`, and its golden messages are kept beside it, so that clients can be written in other
//! languages.
//!
//! Why JSON with raw bytes beside it: a message is small and says what is to be done; contents are large and are never
//! encoded. Any language reads and writes both with its standard library, and so does a person with a trace.
//! Rejected: a schema compiler (a build step for every client); binary encodings of the same values (a library for every
//! client, to save a part of what the socket costs).

pub mod extents;
pub mod frame;
pub mod message;
pub mod roots;
pub mod stream;
pub mod untaken;

#[cfg(test)]
mod extents_tests;
#[cfg(test)]
mod golden_tests;

//! The frames of a stream. Must hold: they are the same however the stream arrives, and what is taken is what its bytes say;
//! nothing panics.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| helios::fuzzing::wire_frames(bytes));

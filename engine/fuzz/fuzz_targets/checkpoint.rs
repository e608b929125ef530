//! Part header and body of a checkpoint. Must hold: an accepted body comes out of its encoding unchanged; nothing
//! panics.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| helios_engine::fuzzing::checkpoint(bytes));

//! Header, trailer and footer of a segment. Must hold: an accepted footer ends where its segment ends; nothing panics.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| helios_engine::fuzzing::segment(bytes));

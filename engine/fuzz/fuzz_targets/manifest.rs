//! A manifest. Must hold: the records of an accepted one add up to its length, and encode to the same bytes; nothing
//! panics.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| helios_engine::fuzzing::manifest(bytes));

//! A tree node. Must hold: every entry of an accepted node is found by its name and can be read; nothing panics.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| helios_engine::fuzzing::node(bytes));

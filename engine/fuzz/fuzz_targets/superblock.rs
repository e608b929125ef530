//! A superblock. Must hold: what is accepted comes out of its encoding unchanged; nothing panics.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| helios_engine::fuzzing::superblock(bytes));

//! The head of a frame. Must hold: all that an accepted head names lies within its frame; nothing panics.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| helios_engine::fuzzing::frame_head(bytes));

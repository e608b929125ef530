//! A store on an image that something has gone over. Must hold: opening, reading, audit, scrub, collection and writing
//! end with values or errors; no panic, no deadlock, no hang.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| helios_engine::fuzzing::open_image(bytes));

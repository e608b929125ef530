//! What people type: revisions, paths, ids, addresses, times. Must hold: it is refused or understood, and what is
//! understood keeps its meaning when shown; nothing panics.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| helios_engine::fuzzing::command_line(bytes));

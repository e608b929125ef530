//! The heads of messages, by kind. Must hold: one is refused, or says the same when it is written again; nothing panics.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| helios::fuzzing::wire_messages(bytes));

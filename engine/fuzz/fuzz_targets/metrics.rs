//! A page of metrics. Must hold: it is refused, or all that it says can be asked for; nothing panics.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| helios::fuzzing::metrics(bytes));

//! A configuration file. Must hold: it is refused with one line, or makes defaults that the command line takes; nothing panics.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| helios::fuzzing::configuration(bytes));

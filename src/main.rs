//! Helios command line.
fn main() {}

//! The `helios` program; everything it does is in [`helios::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    helios::cli::main()
}

//! The `helios` program; everything it does is in [`helios::cli`].

use std::process::ExitCode;

/// Memory of a server stays what it is after its first minute. Beside 850 agents (`cargo bench --bench serve -- agents`) glibc's
/// allocator kept 110 MiB after 40 s that nobody used and 174 after 300 s, still growing, since what one thread allocates
/// another frees; with jemalloc the process has 500 MiB instead of 600, and no more after 200 s than after 60. mimalloc kept as
/// much as glibc. `.cargo/config.toml` says how it is built.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    helios::cli::main()
}

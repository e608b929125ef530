//! Each command: its request, and how its reply is shown.

mod benchmark;
mod changes;
mod commit;
mod content;
mod device;
mod diff;
mod directory;
mod generate;
mod history;
mod merge;
mod patch;
mod references;
mod serve;
mod sink;
mod space;
mod store;
mod top;
mod upkeep;

use helios_engine::ops::Warnings;

use super::args::Command;
use super::exit::Exit;
use super::session::{Session, Stop};

/// Runs a command to its end.
pub fn run(command: Command, session: &mut Session) -> Result<Exit, Stop> {
    match command {
        Command::Init(args) => store::init(session, &args),
        Command::Info => store::info(session),
        Command::Stats => store::stats(session),
        Command::Check(args) => store::check(session, &args),
        Command::Gc(args) => upkeep::gc(session, &args),
        Command::Scrub(args) => upkeep::scrub(session, args),
        Command::Put(args) => content::put(session, &args),
        Command::Get(args) => content::get(session, &args),
        Command::Exists(args) => content::exists(session, args),
        Command::Pin(args) => content::pin(session, args, true),
        Command::Unpin(args) => content::pin(session, args, false),
        Command::Commit(args) => commit::commit(session, args),
        Command::Status(args) => commit::status(session, &args),
        Command::Branch(args) => references::branch(session, args),
        Command::Tag(args) => references::tag(session, args),
        Command::Why(args) => space::why(session, args),
        Command::Du(args) => space::du(session, args),
        Command::Quota(args) => space::quota(session, args),
        Command::Forget(args) => space::forget(session, args),
        Command::Log(args) => history::log(session, args),
        Command::Ls(args) => history::ls(session, args),
        Command::Cat(args) => content::cat(session, args),
        Command::Diff(args) => diff::diff(session, args),
        Command::Merge(args) => merge::merge(session, args),
        Command::Restore(args) => directory::restore(session, args),
        Command::Materialize(args) => directory::materialize(session, args),
        Command::Serve(args) => serve::serve(session, args),
        Command::Top(args) => top::top(session, &args),
        Command::Benchmark(args) => benchmark::benchmark(session, &args),
        Command::Device(args) => device::device(session, args),
        Command::Completions { shell } => generate::completions(session, shell),
        Command::Man { directory } => generate::man(session, &directory),
    }
}

/// Takes the one kind of reply that answers a request.
macro_rules! answer {
    ($reply:expr, $variant:ident) => {
        match $reply? {
            helios_engine::ops::Reply::$variant(reply) => reply,
            _ => return Err($crate::cli::session::unexpected().into()),
        }
    };
}
use answer;

/// The exit code of an operation that was done, but perhaps not completely.
fn done(warnings: &Warnings) -> Exit {
    if warnings.count == 0 {
        Exit::Success
    } else {
        Exit::Partial
    }
}

/// `1 file`, `2 files`.
fn plural(number: u64, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        super::size::count(number),
        if number == 1 { one } else { many }
    )
}

//! The program as its users see it: arguments in, output and exit codes out, on real files.
//!
//! Every test has a home, a store and a working directory of its own. Nothing here looks at wall-clock time.

mod attached;
mod content;
mod crash;
mod device;
mod errors;
mod exposition;
mod generated;
mod kills;
mod large;
mod merge;
mod observe;
mod output;
mod revisions;
mod sandbox;
mod serve;
mod snapshot;
mod space;
mod state;
mod store;
mod upkeep;
mod user_space;

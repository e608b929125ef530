//! The program as its users see it: arguments in, output and exit codes out, on real files.
//!
//! Every test has a home, a store and a working directory of its own. No test asserts how long something takes.

mod attached;
mod benchmark;
mod config;
mod content;
mod conversations;
mod crash;
mod crowd;
mod device;
mod errors;
mod exposition;
mod generated;
mod killed_clients;
mod killed_owners;
mod kills;
mod large;
mod memory;
mod merge;
mod mutation;
mod observe;
mod other_users;
mod output;
mod owner;
mod restarts;
mod revisions;
mod sandbox;
mod serve;
mod slow_clients;
mod snapshot;
mod space;
mod state;
mod store;
mod top;
mod upkeep;
mod user_space;

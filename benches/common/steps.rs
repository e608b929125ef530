//! An agent's step, timed.

use helios::workloads::steps;
pub use helios::workloads::steps::edits;
use helios_engine::store::Store;
use helios_engine::trees::WorkingTree;

use crate::sandbox::time;

/// A working tree with all its files committed.
pub fn tree(store: &Store) -> WorkingTree {
    store.block_on(steps::tree(store, "main")).expect("a new tree")
}

/// Writes and commits, as one agent's step; how long that takes in nanoseconds.
pub fn step(store: &Store, tree: &mut WorkingTree, edits: &[steps::Edit], durable: bool) -> u64 {
    let (taken, stepped) = time(|| store.block_on(steps::step(tree, edits, durable)));
    stepped.expect("a step");
    taken
}

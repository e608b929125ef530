//! The rules of the device seam as checks that every adapter passes, whatever it drives.
//!
//! [`run`] takes a way to make a device of at least [`CAPACITY_MIN`] bytes that answers truthfully (a simulated
//! one without faults). Checks overwrite the device and assume nothing about what is on it. Each is also
//! callable by name through [`CHECKS`]. Power loss cannot be had here; the simulation checks durability.

mod driver;
mod model;
mod queues;
mod space;
#[cfg(test)]
mod tests;
mod transfers;

use std::sync::Arc;

use super::Device;
use crate::limits::UNIT_BYTES;

/// Smallest device the checks fit on, in bytes.
pub const CAPACITY_MIN: u64 = 32 << 20;

/// Makes or opens the device under test; the checks drop one before they make the next.
pub type Make<'a> = &'a dyn Fn() -> Arc<dyn Device>;

/// One check: panics when its rule is broken.
pub type Check = fn(Make<'_>);

/// Every check by name.
pub const CHECKS: &[(&str, Check)] = &[
    ("geometry_is_sane", queues::geometry_is_sane),
    (
        "reads_back_what_was_written",
        transfers::reads_back_what_was_written,
    ),
    ("moves_parts_of_buffers", transfers::moves_parts_of_buffers),
    (
        "completions_carry_their_tokens",
        transfers::completions_carry_their_tokens,
    ),
    ("full_queue_hands_back", queues::full_queue_hands_back),
    ("flush_and_durable_complete", space::flush_and_durable_complete),
    (
        "discarded_ranges_are_writable",
        space::discarded_ranges_are_writable,
    ),
    ("zeroes_read_as_zeroes", space::zeroes_read_as_zeroes),
    ("allocate_keeps_contents", space::allocate_keeps_contents),
    ("bad_commands_are_errors", transfers::bad_commands_are_errors),
    ("time_and_doorbell_wake", queues::time_and_doorbell_wake),
    ("buffers_are_independent", queues::buffers_are_independent),
    ("queues_are_independent", queues::queues_are_independent),
    (
        "dropping_a_busy_queue_is_safe",
        queues::dropping_a_busy_queue_is_safe,
    ),
    ("agrees_with_a_model", model::agrees_with_a_model),
];

const UNIT: u64 = UNIT_BYTES as u64;

/// Runs every check.
pub fn run(make: Make<'_>) {
    for (name, check) in CHECKS {
        println!("conformance: {name}");
        check(make);
    }
}

//! Upkeep of the store while clients work: the only place that calls it.

use super::client::Client;
use super::model::Violation;

/// What can be done; nothing yet, so no plan has any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Maintenance {}

impl Maintenance {
    /// What a plan may draw from.
    pub const ALL: [Maintenance; 0] = [];

    /// Its name, for counting.
    pub fn word(self) -> &'static str {
        match self {}
    }
}

/// Does it as one operation of a client.
pub(super) async fn maintain(_client: &mut Client, what: Maintenance) -> Result<(), Violation> {
    match what {}
}

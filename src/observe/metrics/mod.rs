//! The page of metrics: everything that is counted anywhere, under stable names.
//!
//! Names: `helios_`, base units (seconds, bytes), `_total` for what only grows. Counters begin at zero with the process, unless
//! their text says otherwise. Every family is on every page, so that alerts can rely on it; of calls there are those kinds
//! and outcomes that have occurred, and `ok` of all.
//! Rejected: labels of unbounded number (branches, contents, clients): each would be a series for ever.

mod served;
mod store;

use helios_engine::store::Store;

use super::exposition::{Exposition, Kind};
use super::health::{Condition, Health};
use super::process;
use crate::serve::served::Observed;

/// All metrics of a server as they are now.
pub fn page(observed: &Observed, health: &Health) -> String {
    let mut page = Exposition::default();
    let store = observed.host().store();
    about(&mut page, observed);
    process::gauges(&mut page, store);
    conditions(&mut page, store, health);
    served::families(&mut page, &observed.served());
    store::families(&mut page, store);
    page.into_text()
}

fn about(page: &mut Exposition, observed: &Observed) {
    let health = observed.host().store().health();
    let format = health.format_version.to_string();
    let address = observed.host().address();
    let labels = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("commit", env!("HELIOS_COMMIT")),
        ("store", &address),
        ("store_id", &health.store),
        ("format_version", &format),
    ];
    page.family(
        "helios_info",
        Kind::Gauge,
        "What is served, and by which program.",
    )
    .sample(&labels, 1_u64);
}

fn conditions(page: &mut Exposition, store: &Store, health: &Health) {
    page.gauge("helios_live", "Whether every reactor turns.", health.is_live());
    page.gauge(
        "helios_ready",
        "Whether calls, reads and writes are taken.",
        health.is_ready(),
    );
    page.gauge(
        "helios_degraded",
        "Whether something is wrong that leaves the store at work.",
        health.is_degraded(),
    );
    let mut family = page.family(
        "helios_condition",
        Kind::Gauge,
        "Whether a condition holds that makes the server not live, not ready or degraded.",
    );
    for condition in Condition::ALL {
        family.sample(&[("condition", condition.name())], health.has(condition));
    }
    let state = store.health();
    page.gauge(
        "helios_read_only",
        "Whether the store takes no writes.",
        state.read_only.is_some(),
    );
    page.gauge(
        "helios_damaged_places",
        "Places of the device that cannot be read: found when the store was opened, and by the patrol since.",
        state.damage.len() as u64,
    );
    page.gauge(
        "helios_replayed_frames",
        "Frames that were read again when the store was opened; 0 after a clean close.",
        state.replayed_frames,
    );
}

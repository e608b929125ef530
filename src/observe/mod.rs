//! How a served store is watched: metrics and health over HTTP, and what the service manager is told.
//!
//! [`http`] answers requests, [`metrics`] and [`health`] make the pages, [`exposition`] is the text format of metrics and
//! [`reading`] its other half, [`process`] is what the system says, [`pulse`] finds out whether reactors turn, [`notify`] speaks to
//! the service manager and [`inherited`] takes the sockets it passes. Clients of the control socket get the same pages from
//! [`observer`].
//!
//! Invariants: nothing here runs on a reactor, besides the one word with which it says that it turns; whatever a client of the
//! endpoint sends or does not send, the store is served as before.
//! Rejected: metrics through the control socket alone (what collects them speaks HTTP); an HTTP server of the usual size (its
//! runtime would be the largest part of the program, for four pages).

pub mod exposition;
pub mod health;
pub mod http;
pub mod inherited;
pub mod metrics;
pub mod notify;
pub mod process;
pub mod pulse;
pub mod reading;

use helios_engine::ops::Failure;

use crate::serve::Observer;
use crate::serve::served::Observed;
use health::Health;
use http::{Endpoint, Listener, Page};
use parking_lot::Mutex;
use pulse::Pulse;

/// Makes the pages that clients of the control socket ask for.
pub fn observer() -> Observer {
    let pulse: Mutex<Option<Pulse>> = Mutex::new(None);
    Box::new(move |observed| {
        let mut pulse = pulse.lock();
        let pulse = pulse.get_or_insert_with(|| Pulse::new(observed.host().store().runtime()));
        let health = Health::of(observed, pulse);
        (metrics::page(observed, &health), health.told())
    })
}

/// Serves the pages of a server on a thread of its own, until what is returned is dropped.
///
/// # Errors
/// The thread cannot be started.
pub fn serve(listener: Listener, observed: Observed) -> Result<Endpoint, Failure> {
    let clock = observed.host().store().runtime().clock().clone();
    let mut pulse = Pulse::new(observed.host().store().runtime());
    let mut health = {
        let observed = observed.clone();
        move || Health::of(&observed, &mut pulse)
    };
    let pages = move |path: &str| -> Option<Page> {
        Some(match path {
            "/metrics" => Page::metrics(metrics::page(&observed, &health())),
            "/healthz" | "/readyz" => health().page(Health::is_ready),
            "/livez" => health().page(Health::is_live),
            "/" => Page::text(200, "Helios: /metrics, /healthz, /livez, /readyz\n"),
            _ => return None,
        })
    };
    Endpoint::start(listener, clock, Box::new(pages))
}

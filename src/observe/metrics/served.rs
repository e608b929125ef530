//! What clients do: connections, calls, working trees, who waits for what.

use crate::observe::exposition::{Exposition, Kind};
use crate::serve::counters::{BOUNDS_NS, KINDS, LANES, OUTCOMES, TURNED_AWAY};
use crate::serve::served::Served;

/// All of them.
pub(super) fn families(page: &mut Exposition, served: &Served) {
    page.gauge(
        "helios_connections",
        "Clients that are connected.",
        served.connections,
    );
    page.counter(
        "helios_connections_total",
        "Clients that came in.",
        served.accepted,
    );
    let mut family = page.family(
        "helios_connections_refused_total",
        Kind::Counter,
        "Clients that were sent away, by reason.",
    );
    for (why, count) in TURNED_AWAY.iter().zip(served.turned_away) {
        family.sample(&[("reason", why)], count);
    }
    page.counter(
        "helios_received_bytes_total",
        "Bytes of whole frames from clients, passed memory included.",
        served.received_bytes,
    );
    page.counter(
        "helios_sent_bytes_total",
        "Bytes of whole frames to clients, passed memory included.",
        served.sent_bytes,
    );
    page.gauge(
        "helios_calls_in_progress",
        "Calls that are under way.",
        served.calls_under_way,
    );
    calls(page, served);
    page.gauge(
        "helios_working_trees",
        "Working trees that clients have open.",
        served.trees_open,
    );
    page.counter(
        "helios_working_trees_opened_total",
        "Working trees that clients opened.",
        served.trees_opened,
    );
    page.gauge(
        "helios_client_memory_bytes",
        "Memory that clients hold: working trees, calls that wait, what is read, answers that wait to be sent.",
        served.memory_held,
    );
    page.gauge(
        "helios_client_memory_limit_bytes",
        "Memory that clients may hold together.",
        served.memory_limit,
    );
    page.counter(
        "helios_client_memory_refusals_total",
        "Calls and steps that were refused because clients, or one connection, held all the memory they may.",
        served.memory_refused,
    );
    page.gauge(
        "helios_workers",
        "Whole requests that may run at once, each on a thread.",
        served.workers,
    );
    page.gauge(
        "helios_workers_busy",
        "Whole requests that run now.",
        served.workers_busy,
    );
    page.gauge(
        "helios_requests_waiting",
        "Requests that wait for such a thread.",
        served.requests_waiting,
    );
    page.gauge(
        "helios_requests_stalled",
        "Requests that wait for their own client: for input, or for output to be taken.",
        served.requests_stalled,
    );
    gates(page, served);
}

fn gates(page: &mut Exposition, served: &Served) {
    let reactor = |number: usize| number.to_string();
    let mut family = page.family(
        "helios_changes_allowed",
        Kind::Gauge,
        "Calls on working trees that may change something at once, by reactor; learnt from how soon calls get their turn.",
    );
    for (number, gate) in served.gates.iter().enumerate() {
        family.sample(&[("reactor", &reactor(number))], gate.allowed);
    }
    let mut family = page.family(
        "helios_calls_waiting",
        Kind::Gauge,
        "Calls on working trees that wait for their turn, by reactor and by whether they only look.",
    );
    for (number, gate) in served.gates.iter().enumerate() {
        for (lane, waiting) in LANES.into_iter().zip(gate.waiting) {
            family.sample(&[("reactor", &reactor(number)), ("lane", lane)], waiting);
        }
    }
    let mut family = page.family(
        "helios_calls_refused_total",
        Kind::Counter,
        "Calls on working trees that would have waited too long and were refused, by reactor and by whether they only look.",
    );
    for (number, gate) in served.gates.iter().enumerate() {
        for (lane, refused) in LANES.into_iter().zip(gate.refused) {
            family.sample(&[("reactor", &reactor(number)), ("lane", lane)], refused);
        }
    }
}

fn calls(page: &mut Exposition, served: &Served) {
    let busy = OUTCOMES.iter().position(|outcome| *outcome == "busy");
    let busy = busy.expect("it is one of them");
    page.counter(
        "helios_calls_refused_busy_total",
        "Calls that were refused because too much was asked at once, or the server was ending.",
        served.calls.iter().map(|calls| calls.outcomes[busy]).sum::<u64>(),
    );
    let mut family = page.family(
        "helios_calls_total",
        Kind::Counter,
        "Calls that are over, by kind and by what came of them.",
    );
    for (kind, calls) in KINDS.iter().zip(&served.calls) {
        for (number, (outcome, count)) in OUTCOMES.iter().zip(calls.outcomes).enumerate() {
            if number == 0 || count > 0 {
                family.sample(&[("call", kind), ("outcome", outcome)], count);
            }
        }
    }
    let mut family = page.family(
        "helios_call_duration_seconds",
        Kind::Histogram,
        "Time from a whole call to its answer, by kind.",
    );
    for (kind, calls) in KINDS.iter().zip(&served.calls) {
        if calls.count > 0 {
            family.histogram(
                &[("call", kind)],
                &BOUNDS_NS,
                &calls.within,
                calls.count,
                calls.sum_ns,
            );
        }
    }
}

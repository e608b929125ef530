//! The page of metrics: everything that is counted anywhere, under stable names.
//!
//! Names: `helios_`, base units (seconds, bytes), `_total` for what only grows. Counters begin at zero with the process, unless
//! their text says otherwise. Every family is on every page, so that alerts can rely on it; of calls there are those kinds
//! and outcomes that have occurred, and `ok` of all.
//! Rejected: labels of unbounded number (branches, contents, clients): each would be a series for ever.

use helios_engine::reactor::CounterValues;
use helios_engine::store::Store;
use helios_engine::store::histogram::Class;

use super::exposition::{Exposition, Family, Kind, seconds};
use super::health::{Condition, Health};
use super::process;
use crate::serve::counters::{BOUNDS_NS, KINDS, LANES, OUTCOMES, Observed, Served, TURNED_AWAY};

/// Bounds of the histograms of the engine, in nanoseconds: a visible commit takes microseconds, a durable one what the device
/// takes.
const ENGINE_BOUNDS_NS: [u64; 20] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    1_000_000_000,
    2_500_000_000,
    10_000_000_000,
];

/// All metrics of a server as they are now.
pub fn page(observed: &Observed, health: &Health) -> String {
    let mut page = Exposition::default();
    let store = observed.host().store();
    about(&mut page, observed);
    process::gauges(&mut page, store);
    conditions(&mut page, store, health);
    server(&mut page, &observed.served());
    reactors(&mut page, store);
    latencies(&mut page, store);
    contents(&mut page, store);
    space(&mut page, store);
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

fn server(page: &mut Exposition, served: &Served) {
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
        "Threads that run whole requests.",
        served.workers,
    );
    page.gauge(
        "helios_workers_busy",
        "Threads that run a request now.",
        served.workers_busy,
    );
    page.gauge(
        "helios_requests_waiting",
        "Requests that wait for such a thread.",
        served.requests_waiting,
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

/// Reads one figure of a reactor.
type Figure = fn(&CounterValues) -> u64;

fn reactors(page: &mut Exposition, store: &Store) {
    let handles = store.runtime().handles();
    let values: Vec<(String, CounterValues)> = handles
        .iter()
        .map(|handle| (handle.id().to_string(), handle.counters()))
        .collect();
    let of_each = |mut family: Family<'_>, read: Figure| {
        for (reactor, values) in &values {
            family.sample(&[("reactor", reactor)], read(values));
        }
    };
    let mut family = page.family(
        "helios_reactor_busy_seconds_total",
        Kind::Counter,
        "Time spent in turns that found work.",
    );
    for (reactor, values) in &values {
        family.sample(&[("reactor", reactor)], seconds(values.busy_ns));
    }
    let counters: [(&'static str, &str, Figure); 8] = [
        (
            "helios_reactor_turns_total",
            "Turns of the poll loop.",
            |values| values.turns,
        ),
        ("helios_reactor_polls_total", "Polls of tasks.", |values| {
            values.polls
        }),
        (
            "helios_reactor_sleeps_total",
            "Times the thread slept in the kernel.",
            |values| values.sleeps,
        ),
        (
            "helios_reactor_wakeups_total",
            "Sleeps that another thread ended.",
            |values| values.wakeups,
        ),
        (
            "helios_reactor_task_panics_total",
            "Tasks that panicked.",
            |values| values.panics,
        ),
        (
            "helios_reactor_io_submitted_total",
            "Commands given to the device.",
            |values| values.io_submitted,
        ),
        (
            "helios_reactor_io_completed_total",
            "Commands that the device completed.",
            |values| values.io_completed,
        ),
        (
            "helios_reactor_io_backlogged_total",
            "Commands that had to wait because the queue of the device was full.",
            |values| values.io_backlogged,
        ),
    ];
    for (name, help, read) in counters {
        of_each(page.family(name, Kind::Counter, help), read);
    }
    of_each(
        page.family(
            "helios_reactor_io_in_flight",
            Kind::Gauge,
            "Depth of the queue: commands the device has not completed yet.",
        ),
        |values| values.io_submitted.saturating_sub(values.io_completed),
    );
    of_each(
        page.family("helios_reactor_tasks", Kind::Gauge, "Tasks that live."),
        |values| values.tasks_started.saturating_sub(values.tasks_ended),
    );
}

fn latencies(page: &mut Exposition, store: &Store) {
    let histogram = |mut family: Family<'_>, label, classes: &[(&str, Class)]| {
        for (value, class) in classes {
            let spread = store.latencies(*class, &ENGINE_BOUNDS_NS);
            family.histogram(
                &[(label, value)],
                &ENGINE_BOUNDS_NS,
                &spread.within,
                spread.count,
                spread.sum_ns,
            );
        }
    };
    histogram(
        page.family(
            "helios_commit_duration_seconds",
            Kind::Histogram,
            "Time of commits until other clients see them (visible), and until they survive power loss (durable).",
        ),
        "acknowledgement",
        &[
            ("visible", Class::VisibleCommit),
            ("durable", Class::DurableCommit),
        ],
    );
    histogram(
        page.family(
            "helios_get_duration_seconds",
            Kind::Histogram,
            "Time of single gets that the cache did not answer, by where the bytes came from.",
        ),
        "source",
        &[("memory", Class::GetHit), ("device", Class::GetDevice)],
    );
}

fn contents(page: &mut Exposition, store: &Store) {
    let stats = store.stats();
    let counters = [
        (
            "helios_commits_total",
            "Batches that moved a branch, since the store was made.",
            stats.totals.commits,
        ),
        (
            "helios_cache_hits_total",
            "Reads the cache answered.",
            stats.cache.hits,
        ),
        (
            "helios_cache_misses_total",
            "Reads the cache did not answer.",
            stats.cache.misses,
        ),
        (
            "helios_cache_evictions_total",
            "Extents the cache dropped, or did not take.",
            stats.cache.evictions,
        ),
        (
            "helios_extents_offered_total",
            "Extents that were to be stored.",
            stats.offered,
        ),
        (
            "helios_extents_new_total",
            "Those that the store did not have.",
            stats.new_objects,
        ),
        (
            "helios_offered_bytes_total",
            "Bytes that were to be stored.",
            stats.offered_bytes,
        ),
        (
            "helios_new_bytes_total",
            "Bytes that the store did not have.",
            stats.new_bytes,
        ),
        ("helios_frames_written_total", "Frames written.", stats.frames),
        (
            "helios_frame_bytes_written_total",
            "Bytes of frames, padding included.",
            stats.frame_bytes,
        ),
        (
            "helios_batches_written_total",
            "Batches in frames.",
            stats.batches,
        ),
        (
            "helios_device_reads_total",
            "Reads of extents from the device.",
            stats.reads,
        ),
        (
            "helios_device_read_bytes_total",
            "Bytes of those reads.",
            stats.read_bytes,
        ),
        (
            "helios_pending_hits_total",
            "Extents served from memory before they were durable.",
            stats.pending_hits,
        ),
        (
            "helios_pending_waits_total",
            "Batches that had to wait for memory.",
            stats.pending_waits,
        ),
        (
            "helios_fenced_writes_total",
            "Writes that failed; what they held was written anew elsewhere, and their place fenced off.",
            stats.failed_writes,
        ),
        (
            "helios_checkpoints_total",
            "Checkpoints taken.",
            stats.checkpoints,
        ),
        (
            "helios_checkpoint_bytes_total",
            "Bytes of checkpoints, one copy of each.",
            stats.checkpoint_bytes,
        ),
        (
            "helios_collections_total",
            "Collections that came to their end.",
            stats.collections,
        ),
        (
            "helios_swept_extents_total",
            "Extents that collections forgot.",
            stats.swept,
        ),
        ("helios_swept_bytes_total", "Bytes of those.", stats.swept_bytes),
        (
            "helios_moved_bytes_total",
            "Bytes of extents that cleaning moved.",
            stats.moved_bytes,
        ),
        (
            "helios_segments_freed_total",
            "Segments that became free.",
            stats.segments_freed,
        ),
        (
            "helios_patrolled_bytes_total",
            "Bytes of extents that the patrol has verified.",
            stats.patrolled_bytes,
        ),
    ];
    for (name, help, value) in counters {
        page.counter(name, help, value);
    }
    let gauges = [
        ("helios_cache_bytes", "Memory of the cache.", stats.cache.bytes),
        (
            "helios_cache_capacity_bytes",
            "Most memory the cache may take.",
            stats.cache.capacity_bytes,
        ),
        ("helios_cache_extents", "Extents in the cache.", stats.cache.items),
        (
            "helios_index_entries",
            "Extents in the index.",
            stats.index_entries,
        ),
        ("helios_index_bytes", "Memory of the index.", stats.index_bytes),
        (
            "helios_pending_bytes",
            "Bytes that are visible and not yet durable.",
            stats.pending_bytes,
        ),
        (
            "helios_replay_bytes",
            "Bytes of log that an opening after a crash now would read again.",
            stats.bytes_to_replay,
        ),
        ("helios_leases", "Leases that live.", stats.leases),
        (
            "helios_roots",
            "Branches, tags, pins and other roots.",
            stats.roots,
        ),
    ];
    for (name, help, value) in gauges {
        page.gauge(name, help, value);
    }
}

fn space(page: &mut Exposition, store: &Store) {
    let space = store.space();
    let gauges = [
        ("helios_capacity_bytes", "Bytes of the device.", space.capacity),
        (
            "helios_used_bytes",
            "Bytes that cannot be written now.",
            space.capacity.saturating_sub(space.free),
        ),
        (
            "helios_free_bytes",
            "Bytes that can still be written.",
            space.free,
        ),
        (
            "helios_live_bytes",
            "Bytes of extents on the device that are known.",
            space.live_bytes,
        ),
        (
            "helios_segment_bytes",
            "Bytes of one segment.",
            space.segment_bytes,
        ),
        (
            "helios_index_capacity_bytes",
            "Memory that the index of a full store takes.",
            space.index_bytes_max,
        ),
    ];
    for (name, help, value) in gauges {
        page.gauge(name, help, value);
    }
    let mut family = page.family(
        "helios_segments",
        Kind::Gauge,
        "Segments of the device, by state.",
    );
    for (state, count) in [
        ("free", space.segments_free),
        ("sealed", space.segments_sealed),
        ("open", space.segments_open),
        ("checkpoint", space.segments_checkpoint),
    ] {
        family.sample(&[("state", state)], count);
    }
}

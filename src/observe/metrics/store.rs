//! What the store does: reactors, durations, contents, space.

use helios_engine::reactor::CounterValues;
use helios_engine::store::Store;
use helios_engine::store::histogram::Class;

use crate::observe::exposition::{Exposition, Family, Kind, seconds};

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

/// All of them.
pub(super) fn families(page: &mut Exposition, store: &Store) {
    reactors(page, store);
    latencies(page, store);
    contents(page, store);
    space(page, store);
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

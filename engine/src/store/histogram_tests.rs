//! Percentiles that are right, from many threads.

use std::thread;

use super::*;

fn close(found: f64, expected: f64) -> bool {
    (found - expected).abs() <= expected * 0.01
}

/// Goal: percentiles are exact to one per cent and classes don't mix. Method: 1 to 10,000 us in one class, one value in
/// another.
#[test]
fn percentiles_are_those_of_the_values() {
    let latencies = Latencies::new();
    for micros in 1..=10_000 {
        latencies.record(Class::Put, micros * 1_000);
    }
    latencies.record(Class::GetHit, 150);
    let summary = latencies.summary(Class::Put);
    assert_eq!(summary.count, 10_000);
    for (found, expected) in [
        (summary.us_p50, 5_000.0),
        (summary.us_p95, 9_500.0),
        (summary.us_p99, 9_900.0),
        (summary.us_max, 10_000.0),
    ] {
        assert!(close(found, expected), "{found} instead of {expected}");
    }
    assert_eq!(latencies.summary(Class::GetHit).count, 1);
    assert_eq!(latencies.summary(Class::GetDevice), Summary::default());
}

/// Goal: nothing is lost between threads. Method: eight threads record, the sum and the extremes come out.
#[test]
#[allow(clippy::disallowed_methods, reason = "the test is about threads")]
fn threads_add_up() {
    let latencies = Latencies::new();
    thread::scope(|scope| {
        for part in 1..=8 {
            let latencies = &latencies;
            scope.spawn(move || {
                (0..10_000).for_each(|_| latencies.record(Class::VisibleCommit, part * 1_000))
            });
        }
    });
    let summary = latencies.summary(Class::VisibleCommit);
    assert_eq!(summary.count, 80_000);
    assert!(
        close(summary.us_p50, 4.0) && close(summary.us_max, 8.0),
        "{summary:?}"
    );
}

/// Goal: no value is refused. Method: zero and beyond the bound.
#[test]
fn extreme_values_are_kept() {
    let latencies = Latencies::new();
    latencies.record(Class::DurableCommit, 0);
    latencies.record(Class::DurableCommit, u64::MAX);
    let summary = latencies.summary(Class::DurableCommit);
    assert_eq!(summary.count, 2);
    assert!(close(summary.us_max, NANOSECONDS_MAX as f64 / 1e3), "{summary:?}");
}

/// Goal: the names users see. Method: serialise one.
#[test]
fn summaries_serialise_by_name() {
    let text = serde_json::to_string(&Summary::default()).expect("plain data");
    assert_eq!(
        text,
        r#"{"count":0,"us_p50":0.0,"us_p95":0.0,"us_p99":0.0,"us_max":0.0}"#
    );
}

/// Goal: the cost of recording. Method: a loop; run by hand in release.
#[test]
#[ignore = "a measurement, for release builds"]
#[allow(clippy::disallowed_methods, reason = "a measurement of real time")]
fn figures() {
    const COUNT: u64 = 20_000_000;
    let latencies = Latencies::new();
    let start = std::time::Instant::now();
    for value in 0..COUNT {
        latencies.record(Class::Put, value % 100_000);
    }
    println!(
        "record: {:.1} ns",
        start.elapsed().as_nanos() as f64 / COUNT as f64
    );
    let start = std::time::Instant::now();
    assert_eq!(latencies.summary(Class::Put).count, COUNT);
    println!(
        "summary: {:.0} us, {} bins",
        start.elapsed().as_nanos() as f64 / 1e3,
        empty().distinct_values()
    );
}

/// Goal: a distribution counts each value below the right bounds, and its sum is that of the values. Method: one value between
/// each two bounds, one beyond all of them.
#[test]
fn distributions_count_what_is_within_each_bound() {
    let latencies = Latencies::new();
    for micros in [5, 50, 500, 5_000] {
        latencies.record(Class::VisibleCommit, micros * 1_000);
    }
    let spread = latencies.distribution(Class::VisibleCommit, &[10_000, 100_000, 1_000_000]);
    assert_eq!(spread.within, [1, 2, 3]);
    assert_eq!(spread.count, 4);
    assert!(close(spread.sum_ns as f64, 5_555_000.0), "{}", spread.sum_ns);
    let empty = latencies.distribution(Class::DurableCommit, &[1]);
    assert_eq!((empty.count, empty.sum_ns, empty.within), (0, 0, vec![0]));
}

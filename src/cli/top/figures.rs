//! What happened between two samples of a server's metrics.
//!
//! Rates are differences of counters, quantiles those of differences of buckets, in the way of Prometheus: values lie evenly within
//! their bucket. The field names are those of `--json`, and stable; a figure that there is none of is null.

use serde::Serialize;

use crate::observe::reading::{Buckets, Labels, Metrics};
use crate::wire::message::Health;

/// One look at a server.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Its page of metrics.
    pub metrics: Metrics,
    /// How it is.
    pub health: Health,
}

/// How often something happened, and how long it took.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Latency {
    /// How often.
    pub per_s: f64,
    /// What half of them took at most.
    pub p50_s: Option<f64>,
    /// What 99 of 100 took at most.
    pub p99_s: Option<f64>,
}

/// Calls of one kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Calls {
    /// Its name in the protocol.
    pub call: String,
    /// How often, and how long.
    #[serde(flatten)]
    pub latency: Latency,
    /// How often with another outcome than `ok`.
    pub failed_per_s: f64,
}

/// One reactor.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Reactor {
    /// Its number.
    pub reactor: u64,
    /// The part of the time in which it did something, from 0 to 1.
    pub utilisation: f64,
    /// Commands that the device has not completed.
    pub queue_depth: f64,
    /// Tasks that live.
    pub tasks: f64,
}

/// All that is shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// The store.
    pub store: String,
    /// Version of the server.
    pub version: String,
    /// How long the server has had the store open.
    pub uptime_s: f64,
    /// The time that rates and quantiles are about.
    pub interval_s: f64,
    /// How the server is.
    pub health: Health,
    /// Clients that are connected.
    pub clients: f64,
    /// Working trees that they have open.
    pub working_trees: f64,
    /// Calls of all kinds.
    pub calls_per_s: f64,
    /// Calls under way now.
    pub calls_in_progress: f64,
    /// Calls refused because too much was asked at once.
    pub refused_busy_per_s: f64,
    /// Calls by kind, the most frequent first; those that never happened are left out.
    pub calls: Vec<Calls>,
    /// Commits until others see them.
    pub commits_visible: Latency,
    /// Commits until they survive power loss.
    pub commits_durable: Latency,
    /// From clients.
    pub received_bytes_per_s: f64,
    /// To clients.
    pub sent_bytes_per_s: f64,
    /// Reactors by number.
    pub reactors: Vec<Reactor>,
    /// Requests that wait for a thread.
    pub requests_waiting: f64,
    /// Threads that run requests.
    pub workers_busy: f64,
    /// Threads for requests.
    pub workers: f64,
    /// The part of reads that the cache answered, from 0 to 1.
    pub cache_hit_rate: Option<f64>,
    /// Bytes that were to be stored by those that were, since the server opened the store.
    pub dedup_ratio: Option<f64>,
    /// Size of the device.
    pub capacity_bytes: f64,
    /// What cannot be written.
    pub used_bytes: f64,
    /// What can.
    pub free_bytes: f64,
    /// Memory of the server.
    pub resident_bytes: f64,
    /// Of that, the index.
    pub index_bytes: f64,
    /// Of that, the cache.
    pub cache_bytes: f64,
    /// What the cache may take.
    pub cache_capacity_bytes: f64,
    /// Visible and not durable yet.
    pub pending_bytes: f64,
}

/// Two samples of one process, the earlier perhaps from before it began.
struct Between<'a> {
    earlier: Option<&'a Metrics>,
    later: &'a Metrics,
    seconds: f64,
}

impl Between<'_> {
    fn gauge(&self, name: &str) -> f64 {
        self.later.sum(name, &[]).unwrap_or(0.0)
    }

    /// How much counters have grown.
    fn growth(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let of = |metrics: &Metrics| metrics.sum(name, labels).unwrap_or(0.0);
        (of(self.later) - self.earlier.map_or(0.0, of)).max(0.0)
    }

    fn rate(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.growth(name, labels) / self.seconds
    }

    /// The histogram of a family with one label, of what came between.
    fn latency(&self, family: &str, label: (&str, &str)) -> Latency {
        let wanted = vec![(label.0.to_owned(), label.1.to_owned())];
        let of = |metrics: &Metrics| metrics.histograms(family).remove(&wanted).unwrap_or_default();
        let mut buckets = of(self.later);
        let before: Buckets = self.earlier.map(of).unwrap_or_default();
        for ((_, count), (_, before)) in buckets.iter_mut().zip(before) {
            *count = (*count - before).max(0.0);
        }
        Latency {
            per_s: buckets.last().map_or(0.0, |(_, count)| *count) / self.seconds,
            p50_s: quantile(&buckets, 0.5),
            p99_s: quantile(&buckets, 0.99),
        }
    }
}

/// The value below which that part of all values lies; that of the last bound for those beyond it.
fn quantile(buckets: &[(f64, f64)], part: f64) -> Option<f64> {
    let count = buckets.last().filter(|(_, count)| *count > 0.0)?.1;
    let rank = part * count;
    let (mut bound_before, mut count_before) = (0.0, 0.0);
    for (bound, count) in buckets {
        if *count >= rank && *count > count_before {
            return Some(if bound.is_infinite() {
                bound_before
            } else {
                bound_before + (bound - bound_before) * (rank - count_before) / (count - count_before)
            });
        }
        (bound_before, count_before) = (*bound, *count);
    }
    None
}

fn label<'a>(labels: &'a Labels, wanted: &str) -> &'a str {
    let found = labels.iter().find(|(name, _)| name == wanted);
    found.map_or("", |(_, value)| value)
}

impl Figures {
    /// What happened until `later`: since `earlier`, a sample of the same process, or since that began.
    pub fn between(earlier: Option<&Sample>, later: &Sample) -> Figures {
        let uptime = |sample: &Sample| sample.metrics.sum("helios_uptime_seconds", &[]).unwrap_or(0.0);
        let seconds = uptime(later) - earlier.map_or(0.0, uptime);
        let between = Between {
            earlier: earlier.map(|sample| &sample.metrics),
            later: &later.metrics,
            // Two samples at one time have nothing between them.
            seconds: if seconds > 0.0 { seconds } else { f64::INFINITY },
        };
        let about = between.later.series("helios_info").next();
        let about = |name| about.map_or("", |(labels, _)| label(labels, name)).to_owned();
        let (hits, misses) = (
            between.growth("helios_cache_hits_total", &[]),
            between.growth("helios_cache_misses_total", &[]),
        );
        let (offered, new) = (
            between.gauge("helios_offered_bytes_total"),
            between.gauge("helios_new_bytes_total"),
        );
        let commits = |acknowledgement| {
            between.latency(
                "helios_commit_duration_seconds",
                ("acknowledgement", acknowledgement),
            )
        };
        Figures {
            store: about("store"),
            version: about("version"),
            uptime_s: uptime(later),
            interval_s: seconds,
            health: later.health.clone(),
            clients: between.gauge("helios_connections"),
            working_trees: between.gauge("helios_working_trees"),
            calls_per_s: between.rate("helios_calls_total", &[]),
            calls_in_progress: between.gauge("helios_calls_in_progress"),
            refused_busy_per_s: between.rate("helios_calls_refused_busy_total", &[]),
            calls: calls(&between),
            commits_visible: commits("visible"),
            commits_durable: commits("durable"),
            received_bytes_per_s: between.rate("helios_received_bytes_total", &[]),
            sent_bytes_per_s: between.rate("helios_sent_bytes_total", &[]),
            reactors: reactors(&between),
            requests_waiting: between.gauge("helios_requests_waiting"),
            workers_busy: between.gauge("helios_workers_busy"),
            workers: between.gauge("helios_workers"),
            cache_hit_rate: (hits + misses > 0.0).then(|| hits / (hits + misses)),
            dedup_ratio: (new > 0.0).then(|| offered / new),
            capacity_bytes: between.gauge("helios_capacity_bytes"),
            used_bytes: between.gauge("helios_used_bytes"),
            free_bytes: between.gauge("helios_free_bytes"),
            resident_bytes: between.gauge("helios_resident_bytes"),
            index_bytes: between.gauge("helios_index_bytes"),
            cache_bytes: between.gauge("helios_cache_bytes"),
            cache_capacity_bytes: between.gauge("helios_cache_capacity_bytes"),
            pending_bytes: between.gauge("helios_pending_bytes"),
        }
    }
}

fn calls(between: &Between<'_>) -> Vec<Calls> {
    let mut found: Vec<(f64, Calls)> = Vec::new();
    for (labels, count) in between.later.series("helios_calls_total") {
        let call = label(labels, "call");
        let outcome = label(labels, "outcome");
        if count == 0.0 {
            continue;
        }
        let at = found.iter().position(|(_, calls)| calls.call == call);
        let at = at.unwrap_or_else(|| {
            let latency = between.latency("helios_call_duration_seconds", ("call", call));
            let calls = Calls {
                call: call.to_owned(),
                latency,
                failed_per_s: 0.0,
            };
            found.push((0.0, calls));
            found.len() - 1
        });
        found[at].0 += count;
        if outcome != "ok" {
            found[at].1.failed_per_s +=
                between.rate("helios_calls_total", &[("call", call), ("outcome", outcome)]);
        }
    }
    // Those that happen now, then those that have happened most.
    found.sort_by(|(count, one), (other_count, other)| {
        let by_rate = other.latency.per_s.total_cmp(&one.latency.per_s);
        by_rate
            .then(other_count.total_cmp(count))
            .then_with(|| one.call.cmp(&other.call))
    });
    found.into_iter().map(|(_, calls)| calls).collect()
}

fn reactors(between: &Between<'_>) -> Vec<Reactor> {
    let mut found: Vec<Reactor> = between
        .later
        .series("helios_reactor_busy_seconds_total")
        .map(|(labels, _)| {
            let number = label(labels, "reactor");
            let labels = [("reactor", number)];
            let gauge = |name| between.later.sum(name, &labels).unwrap_or(0.0);
            Reactor {
                reactor: number.parse().unwrap_or(0),
                utilisation: between
                    .rate("helios_reactor_busy_seconds_total", &labels)
                    .min(1.0),
                queue_depth: gauge("helios_reactor_io_in_flight"),
                tasks: gauge("helios_reactor_tasks"),
            }
        })
        .collect();
    found.sort_by_key(|reactor| reactor.reactor);
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::exposition::{Exposition, Kind};

    /// A page after so many seconds: `files` calls, of which one in ten failed and all but one took up to 10 us.
    pub(in crate::cli::top) fn sample(uptime: f64, files: u64) -> Sample {
        let mut page = Exposition::default();
        page.family("helios_info", Kind::Gauge, "x")
            .sample(&[("store", "/data/a"), ("version", "1.2.3")], 1_u64);
        page.gauge("helios_uptime_seconds", "x", uptime);
        page.gauge("helios_capacity_bytes", "x", 1000_u64);
        page.gauge("helios_used_bytes", "x", 250_u64);
        page.counter("helios_cache_hits_total", "x", files * 3);
        page.counter("helios_cache_misses_total", "x", files);
        page.counter("helios_received_bytes_total", "x", files * 100);
        let mut family = page.family("helios_calls_total", Kind::Counter, "x");
        for (call, outcome, count) in [
            ("files", "conflict", files / 10),
            ("files", "ok", files - files / 10),
            ("get", "ok", 0),
            ("ping", "ok", 7),
        ] {
            family.sample(&[("call", call), ("outcome", outcome)], count);
        }
        let mut family = page.family("helios_call_duration_seconds", Kind::Histogram, "x");
        let within = [files.saturating_sub(1), files];
        family.histogram(&[("call", "files")], &[10_000, 1_000_000], &within, files, files);
        let mut family = page.family("helios_reactor_busy_seconds_total", Kind::Counter, "x");
        for reactor in ["0", "1", "10", "2"] {
            family.sample(&[("reactor", reactor)], uptime / 4.0);
        }
        Sample {
            metrics: Metrics::read(&page.into_text()).expect("a sound page"),
            health: Health {
                live: true,
                ready: true,
                ..Health::default()
            },
        }
    }

    /// Goal: rates are of the time between two samples, and of the time since the beginning without an earlier one.
    #[test]
    fn rates_are_differences_by_time() {
        let figures = Figures::between(Some(&sample(100.0, 1000)), &sample(102.0, 1200));
        assert_eq!((&*figures.store, &*figures.version), ("/data/a", "1.2.3"));
        assert_eq!((figures.uptime_s, figures.interval_s), (102.0, 2.0));
        assert_eq!(figures.calls_per_s, 100.0);
        assert_eq!(figures.received_bytes_per_s, 10_000.0);
        assert_eq!(figures.cache_hit_rate, Some(0.75));
        assert_eq!(figures.dedup_ratio, None);
        let names: Vec<&str> = figures.calls.iter().map(|calls| &*calls.call).collect();
        assert_eq!(names, ["files", "ping"]);
        assert_eq!(figures.calls[0].latency.per_s, 100.0);
        assert_eq!(figures.calls[0].failed_per_s, 10.0);
        let reactors: Vec<u64> = figures.reactors.iter().map(|reactor| reactor.reactor).collect();
        assert_eq!(reactors, [0, 1, 2, 10]);
        assert_eq!(figures.reactors[0].utilisation, 0.25);
        let first = Figures::between(None, &sample(100.0, 1000));
        assert_eq!(first.calls[0].latency.per_s, 10.0);
        let same = Figures::between(Some(&sample(100.0, 1000)), &sample(100.0, 1000));
        assert_eq!((same.calls_per_s, same.cache_hit_rate), (0.0, None));
    }

    /// Goal: quantiles are those of what came between, and lie where the buckets say.
    #[test]
    fn quantiles_are_of_the_interval() {
        let latency = Figures::between(Some(&sample(1.0, 1000)), &sample(2.0, 1100)).calls[0]
            .latency
            .clone();
        // 100 calls, all within 10 us: evenly from nothing to there.
        let near = |value: Option<f64>, expected: f64| value.is_some_and(|v| (v - expected).abs() < 1e-12);
        assert!(
            near(latency.p50_s, 5e-6) && near(latency.p99_s, 9.9e-6),
            "{latency:?}"
        );
        let buckets = [(1.0, 0.0), (2.0, 10.0), (4.0, 10.0), (f64::INFINITY, 20.0)];
        assert_eq!(quantile(&buckets, 0.25), Some(1.5));
        assert_eq!(quantile(&buckets, 0.5), Some(2.0));
        assert_eq!(quantile(&buckets, 0.99), Some(4.0), "beyond all bounds");
        assert_eq!(quantile(&[(1.0, 0.0), (f64::INFINITY, 0.0)], 0.5), None);
        assert_eq!(quantile(&[], 0.5), None);
    }

    /// Goal: a server of another version, which has other metrics, is shown as far as it goes. Method: an empty page.
    #[test]
    fn what_is_missing_is_nothing() {
        let figures = Figures::between(None, &Sample::default());
        let text = serde_json::to_string(&figures).expect("plain values");
        assert!(
            text.contains("\"calls_per_s\":0.0") && text.contains("\"dedup_ratio\":null"),
            "{text}"
        );
    }
}

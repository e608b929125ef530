//! One client: what the way through the socket adds.

use std::os::unix::fs::FileExt;
use std::time::Duration;

use helios::engine::format::Domain;
use helios::engine::ops::Durability;
use helios::engine::trees::{Trees, WorkingOptions};
use helios::wire::message::Call;

use crate::echo::Echo;
use crate::owner::{self, commit, open, populate, write};
use crate::report;
use crate::sandbox::{Sandbox, pause, raw_file, time};

const ROUNDS: usize = 7;
const PER_ROUND: usize = 500;
const DURABLE_PER_ROUND: usize = 60;
const FILES: usize = 2000;
/// After this time without work a reactor sleeps until there is some.
const SETTLED: Duration = Duration::from_millis(200);

/// Runs the section.
pub fn run() {
    report::heading(
        "latency: what does the way through the socket add to a commit of one changed file?",
        "a round trip over a bare unix socket whose two sides sleep; the same commit in process; one raw durable write",
        "visible P95 < 250 us and within 60 us of the bare round trip; durable <= 2x the raw write",
    );
    let sandbox = Sandbox::new();
    let owner = owner::of_new_store(&sandbox.path("served"), "4G");
    let mut client = owner.client();
    populate(&mut client, FILES);
    let tree = open(&mut client, "main", Some("work"));
    let store = sandbox.store("own", 4 << 30, 2, 64 << 20);
    let trees = Trees::new(store.clone(), Domain::default());
    let mut own = trees
        .open_new("main", WorkingOptions::default())
        .expect("a new branch");
    for number in 0..FILES {
        let path = crate::owner::path(number);
        let directory = path.split_once('/').expect("two names").0;
        store.block_on(own.create_directories(directory)).expect("room");
        store
            .block_on(own.write(&path, format!("content of file {number}")))
            .expect("room");
    }
    store.block_on(own.commit("all")).expect("room");
    let mut echo = Echo::new();
    let raw = raw_file(&sandbox.path("raw"));
    let block = aligned();
    let mut rows = [(); 6].map(|()| report::histogram());
    let [bare, ping, visible, within, durable, written] = &mut rows;
    let mut number = 0u64;
    for _ in 0..ROUNDS {
        for _ in 0..PER_ROUND {
            number += 1;
            bare.record(echo.round_trip()).expect("a time");
            let (ns, answer) = time(|| client.call(&Call::Ping, ""));
            answer.expect("it answers");
            ping.record(ns).expect("a time");
            let path = crate::owner::path(number as usize * 7 % FILES);
            let content = number.to_string();
            let steps = vec![write(&path, content.len()), commit(Durability::Visible)];
            let (ns, answer) = time(|| client.files(tree, steps, content.clone()));
            assert_eq!(answer.expect("it answers").0.failed, None);
            visible.record(ns).expect("a time");
        }
        // The reactors of one of the two are fast asleep while the other is measured: together they are more than the cores.
        pause(SETTLED);
        for _ in 0..PER_ROUND {
            number += 1;
            let path = crate::owner::path(number as usize * 7 % FILES);
            let content = number.to_string();
            let (ns, committed) = time(|| {
                store.block_on(async {
                    own.write(&path, content).await?;
                    own.commit("").await
                })
            });
            committed.expect("room");
            within.record(ns).expect("a time");
        }
        pause(SETTLED);
        for _ in 0..DURABLE_PER_ROUND {
            number += 1;
            let path = crate::owner::path(number as usize * 7 % FILES);
            let content = number.to_string();
            let steps = vec![write(&path, content.len()), commit(Durability::Durable)];
            let (ns, answer) = time(|| client.files(tree, steps, content));
            assert_eq!(answer.expect("it answers").0.failed, None);
            durable.record(ns).expect("a time");
            let (ns, done) = time(|| {
                raw.write_all_at(block_of(&block), number % 4096 * 4096)
                    .and_then(|()| raw.sync_data())
            });
            done.expect("room");
            written.record(ns).expect("a time");
        }
    }
    store.close().expect("a clean close");
    report::row("round trip, bare unix socket", bare);
    report::row("round trip, ping", ping);
    report::row("write and commit, visible, through the socket", visible);
    report::row("write and commit, visible, in process", within);
    report::row("write and commit, durable, through the socket", durable);
    report::row("one raw durable write of 4 KiB", written);
    report::ratio("durable commit : raw durable write", durable, written);
    let above = visible.value_at_quantile(0.95) as f64 - bare.value_at_quantile(0.95) as f64;
    println!(
        "  visible commit above the bare round trip, P95: {:.1} us",
        above / 1000.0
    );
}

/// Memory of which one 4 KiB block is aligned for direct writes.
fn aligned() -> Vec<u8> {
    vec![7; 8192]
}

fn block_of(memory: &[u8]) -> &[u8] {
    let skip = memory.as_ptr().align_offset(4096);
    &memory[skip..skip + 4096]
}

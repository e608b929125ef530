//! Write amplification: what a store writes for each byte that overwrites another, once it has to clean to go on.
//!
//! The model to compare with is cleaning the oldest segment first (or the emptiest one, which comes to the same when
//! segments are large) under uniformly random overwrites of equal extents: with `a` bytes of room for each living byte,
//! a segment is overwritten down to a fraction `x = -W(-a e^-a) / a` of living bytes before its turn comes, and
//! amplification is `1 / (1 - x) = a / (a + W(-a e^-a))` (Desnoyers, "Analytic Models of SSD Write Performance", ACM
//! Transactions on Storage 10(2), 2014; Menon, "A performance comparison of RAID-5 and log-structured arrays", 1995,
//! has the same equation). The model has no extra free space, no metadata, and sees a death when it happens. A store
//! keeps part of its room free, and knows deaths from its last collection on: figures above it are the price of both.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use helios_engine::device::Address;
use helios_engine::error::{Error, Result};
use helios_engine::format::{ContentId, Domain, Kind};
use helios_engine::hash;
use helios_engine::store::{
    CreateOptions, Expect, Extent, Found, Key, Root, RootChange, RootKind, RootUpdate, Stats, Store, Target,
    Trace, Tracing,
};

use crate::report;
use crate::sandbox::{Sandbox, content, open, time};

/// Bytes of the store, unless `HELIOS_STORE_GIB` says more. Some segments are always open or kept free, so small stores do
/// worse; from 8 GiB on one has 2,048 segments, whatever its size.
const STORE_GIB: u64 = 4;
/// How much of it lives, unless `HELIOS_ALIVE_PERCENT` names one.
const ALIVE_PERCENT: [u64; 3] = [50, 70, 80];
/// Bytes of each extent of data.
const BYTES: usize = 32 << 10;
/// Extents that one node lists.
const LEAF: usize = 16;
/// Extents overwritten together, each in a leaf of its own.
const AT_ONCE: usize = 16;
/// How many times the living bytes are overwritten before it is measured, and while it is.
const TURNS: [f64; 2] = [1.5, 3.0];

/// Runs the section.
pub fn run() {
    report::heading(
        "cleaning: how much is written to the device for each byte overwritten?",
        "the model of cleaning without metadata and with deaths known at once, uniformly random overwrites",
        "data bytes within 1.2 times the model at 80 % alive, below 1.5 at 50 %",
    );
    println!(
        "  store {} GiB, extents of {} KiB, {LEAF} to a node, {AT_ONCE} overwritten together",
        store_bytes() >> 30,
        BYTES >> 10
    );
    let said = number("HELIOS_ALIVE_PERCENT");
    for alive_percent in said.map_or(ALIVE_PERCENT.to_vec(), |percent| vec![percent]) {
        let sandbox = Sandbox::new();
        overwrite(&sandbox, alive_percent);
    }
}

fn store_bytes() -> u64 {
    number("HELIOS_STORE_GIB").unwrap_or(STORE_GIB) << 30
}

fn number(variable: &str) -> Option<u64> {
    let said = std::env::var(variable).ok()?;
    Some(said.parse().expect("a whole number"))
}

/// A node is a list of ids of data; a root names a node.
struct Lists;

impl Trace for Lists {
    fn begin(&self, _: &Store) -> Arc<dyn Tracing> {
        Arc::new(Lists)
    }
}

impl Tracing for Lists {
    fn root(self: Arc<Self>, root: Root) -> Pin<Box<dyn Future<Output = Result<Found>> + Send>> {
        let found = root.target.map(|target| (target.kind, target.id));
        Box::pin(async move { Ok(found.into_iter().collect()) })
    }

    fn held(self: Arc<Self>, _: Key) -> Pin<Box<dyn Future<Output = Result<Found>> + Send>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn references(&self, _: Kind, bytes: &Bytes, found: &mut Found) -> Result<()> {
        let ids = bytes.chunks_exact(32);
        found.extend(ids.map(|id| (Kind::Data, ContentId(id.try_into().expect("32 bytes")))));
        Ok(())
    }
}

/// What the store holds: leaves of ids.
struct Leaves {
    ids: Vec<[ContentId; LEAF]>,
    state: u64,
    made: u64,
    data_bytes: u64,
}

impl Leaves {
    fn random(&mut self, below: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state % below as u64) as usize
    }

    fn data(&mut self) -> Extent {
        self.made += 1;
        self.data_bytes += BYTES as u64;
        let bytes = Bytes::from(content(self.made, BYTES));
        let id = hash::content_id(&bytes);
        extent(Kind::Data, id, bytes)
    }

    /// Puts these leaves as they are now, with the new data they list; false if the store is full.
    fn put(&self, store: &Store, leaves: &[usize], mut extents: Vec<Extent>) -> bool {
        let mut batch = store.batch();
        let mut updates = Vec::with_capacity(leaves.len());
        for leaf in leaves {
            let bytes: Vec<u8> = self.ids[*leaf].iter().flat_map(|id| id.0).collect();
            let bytes = Bytes::from(bytes);
            let id = hash::typed_id(Kind::Node, &bytes);
            extents.push(extent(Kind::Node, id, bytes));
            updates.push(RootUpdate {
                kind: RootKind::Branch,
                name: format!("leaf-{leaf}").into_bytes().into(),
                expect: Expect::Any,
                change: RootChange::Set {
                    target: Some(Target { kind: Kind::Node, id }),
                    data: Bytes::new(),
                },
            });
        }
        let done = store.block_on(async {
            batch.put(extents).await?;
            // After what they refer to, which may go to the log in parts.
            updates.into_iter().for_each(|update| batch.set_root(update));
            batch.submit().await?.durable().await
        });
        match done {
            Ok(()) => true,
            Err(Error::Full { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    fn fill(&mut self, store: &Store, count: usize) {
        for leaf in 0..count {
            let extents: Vec<Extent> = (0..LEAF).map(|_| self.data()).collect();
            let ids = std::array::from_fn(|place| extents[place].key.id);
            self.ids.push(ids);
            assert!(self.put(store, &[leaf], extents), "filling up finds room");
        }
    }

    /// Overwrites random extents until so many bytes of data were written; false if the store is full before.
    fn overwrite(&mut self, store: &Store, bytes: u64) -> bool {
        let end = self.data_bytes + bytes;
        while self.data_bytes < end {
            let mut leaves = Vec::with_capacity(AT_ONCE);
            let mut extents = Vec::with_capacity(AT_ONCE);
            while leaves.len() < AT_ONCE {
                let leaf = self.random(self.ids.len());
                if leaves.contains(&leaf) {
                    continue;
                }
                let place = self.random(LEAF);
                let data = self.data();
                self.ids[leaf][place] = data.key.id;
                leaves.push(leaf);
                extents.push(data);
            }
            if !self.put(store, &leaves, extents) {
                return false;
            }
        }
        true
    }
}

fn extent(kind: Kind, id: ContentId, bytes: Bytes) -> Extent {
    let domain = Domain(0);
    Extent {
        key: Key { domain, kind, id },
        bytes,
    }
}

fn overwrite(sandbox: &Sandbox, alive_percent: u64) {
    let path = sandbox.path("cleaning.helios");
    let options = CreateOptions {
        size: store_bytes(),
        force: true,
        ..CreateOptions::default()
    };
    Store::create(&Address::Path(path.clone()), &options).expect("a store for the bench");
    let store = open(&path, 1, 0);
    store.set_trace(Arc::new(Lists));
    let leaf_bytes = (LEAF * (BYTES + 32)) as u64;
    let leaves = store_bytes() * alive_percent / 100 / leaf_bytes;
    let alive = leaves * leaf_bytes;
    let mut model = Leaves {
        ids: Vec::new(),
        state: 0x1234_5678_9abc_def1,
        made: 0,
        data_bytes: 0,
    };
    model.fill(&store, usize::try_from(leaves).expect("few"));
    if !model.overwrite(&store, (alive as f64 * TURNS[0]) as u64) {
        println!("\n  {alive_percent} % alive: the store says that it is full");
        return;
    }
    let (before, data_before, device_before) = (store.stats(), model.data_bytes, device_bytes());
    let (took, went_on) = time(|| model.overwrite(&store, (alive as f64 * TURNS[1]) as u64));
    let data = model.data_bytes - data_before;
    println!(
        "\n  {alive_percent} % alive: {} MiB overwritten in {:.1} s{}",
        data >> 20,
        took as f64 / 1e9,
        if went_on {
            ""
        } else {
            ", then the store said that it is full"
        }
    );
    report_classes(&before, &store.stats(), data, device_bytes() - device_before);
    let whole = predicted(100.0 / alive_percent as f64);
    let space = store.space();
    let filled = filled(&before, &store.stats(), space.segment_bytes);
    println!(
        "  segments were filled to {:.1} % before they were sealed",
        100.0 * filled
    );
    let kept = space.segments_free as f64 / space.segments as f64;
    let room = store_bytes() as f64 * filled * (1.0 - kept) / alive as f64;
    let copied = store.stats().moved_bytes - before.moved_bytes;
    let amplification = 1.0 + copied as f64 / data as f64;
    println!(
        "  data bytes {amplification:.2}, {:.2} times the model",
        amplification / whole
    );
    println!(
        "  model: {whole:.2} with all room used; {:.2} with that part of it used and what is free at the end kept free",
        predicted(room)
    );
    println!(
        "  at the end {} of {} segments free, {} MiB known to live ({} MiB do)",
        space.segments_free,
        space.segments,
        space.live_bytes >> 20,
        alive >> 20
    );
    store.close().expect("a clean close");
}

/// What was written, by class, for each byte of data.
fn report_classes(before: &Stats, after: &Stats, data: u64, device: u64) {
    let of = |field: fn(&Stats) -> u64| field(after) - field(before);
    let nodes = of(|stats| stats.new_bytes) - data;
    let copies = of(|stats| stats.moved_bytes);
    let moved_frames = of(|stats| stats.moved_frame_bytes);
    let frames = of(|stats| stats.frame_bytes);
    let row = |name: &str, bytes: u64| {
        println!(
            "  {name:<36} {:>9.1} MiB {:>7.3}",
            bytes as f64 / f64::from(1 << 20),
            bytes as f64 / data as f64
        );
    };
    row("data", data);
    row("nodes", nodes);
    row("records, heads and padding", frames - moved_frames - data - nodes);
    row("cleaner's copies", copies);
    row("cleaner's heads and padding", moved_frames.saturating_sub(copies));
    row("segment headers and footers", of(|stats| stats.footer_bytes));
    row("checkpoints, both copies", 2 * of(|stats| stats.checkpoint_bytes));
    let all = frames + of(|stats| stats.footer_bytes) + 2 * of(|stats| stats.checkpoint_bytes);
    row("all of these", all);
    row("zeroed ahead", of(|stats| stats.zeroed_bytes));
    row("device bytes, as the kernel counts", device);
    println!(
        "  {} collections, {} checkpoints, {} segments freed",
        of(|stats| stats.collections),
        of(|stats| stats.checkpoints),
        of(|stats| stats.segments_freed)
    );
}

/// The part of a segment that frames and footers take: as many segments were filled as became free.
fn filled(before: &Stats, after: &Stats, segment_bytes: u64) -> f64 {
    let written = after.frame_bytes + after.footer_bytes - before.frame_bytes - before.footer_bytes;
    written as f64 / ((after.segments_freed - before.segments_freed) * segment_bytes) as f64
}

/// Bytes this process has had written to devices.
fn device_bytes() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Amplification of the model with `room` bytes for each living byte.
fn predicted(room: f64) -> f64 {
    if room <= 1.0 {
        return f64::INFINITY;
    }
    // The part of a segment that lives when its turn comes: x = e^(-room (1 - x)), by iteration from below.
    let mut alive = 0.0;
    for _ in 0..10_000 {
        alive = f64::exp(-room * (1.0 - alive));
    }
    1.0 / (1.0 - alive)
}

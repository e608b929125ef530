//! The golden image of this format version: a store with everything the format has, as it was written when it was last
//! looked at on purpose. See `golden/README.md`.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use crate::device::sim::{Effect, Faults, Image, On, Rule, SimDevice};
use crate::format::{ContentId, Domain, SegmentId};
use crate::limits::UNIT_BYTES;
use crate::objects::{Durability, Objects, PutOptions};
use crate::store::testing::{abandon, create_driven, device_seeded, open, open_driven};
use crate::store::{RootKind, Store, act_as_thread};
use crate::trees::{ExpectHead, Forgetting, Keep, TreeTrace, Trees, WorkingOptions};

const BYTES: u64 = 64 << 20;
/// When the branch `leaves` goes by itself: far away.
const EXPIRES_NS: u64 = 4_000_000_000_000_000_000;
const QUOTA_BYTES: u64 = 1 << 30;

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/v1.image")
}

/// Contents of every alignment class, one that needs a manifest, and one with a hole.
fn contents() -> Vec<Bytes> {
    let pattern = |len: usize| {
        (0..len)
            .map(|at| (at * 7 % 251 + at / 65_536) as u8)
            .collect::<Vec<_>>()
    };
    let mut all: Vec<Bytes> = [0usize, 1, 33, 1024, 4095, 4096, 5000, 8192, 40_000]
        .into_iter()
        .map(|len| Bytes::from(pattern(len)))
        .collect();
    all.push(Bytes::from(pattern((1 << 20) + 300_000)));
    all.push(Bytes::from(
        [pattern(600_000), vec![0; 500_000], pattern(70_000)].concat(),
    ));
    all
}

fn file(number: usize, step: usize) -> String {
    format!("file {number} of step {step}")
}

/// Commits step `step` to `main` and returns its id.
fn commit(store: &Store, trees: &Trees, step: usize) -> ContentId {
    let options = || WorkingOptions {
        author: "golden".into(),
        ..WorkingOptions::default()
    };
    store.block_on(async {
        let mut tree = match step {
            1 => trees.open_new("main", options()).unwrap(),
            _ => trees.open_branch("main", options()).await.unwrap(),
        };
        if step == 1 {
            tree.create_directories("many").await.unwrap();
            tree.create_directories("deep/er/empty").await.unwrap();
        }
        for number in (0..60).filter(|number| step == 1 || number % 20 == step) {
            tree.write(format!("many/{number:03}"), file(number, step))
                .await
                .unwrap();
        }
        if step == 1 {
            tree.symlink("link", "many/000").await.unwrap();
            tree.write("deep/tool", contents()[7].clone()).await.unwrap();
            tree.set_mode("deep/tool", 0o755).await.unwrap();
        }
        let done = tree.commit(&format!("step {step}")).await.unwrap();
        done.ack.expect("something has changed").durable().await.unwrap();
        done.commit
    })
}

/// Three openings: one that is closed, one that collects, sees a failed write and ends without a close, and one that
/// recovers.
fn write() -> Arc<SimDevice> {
    let thread = act_as_thread(0);
    let device = device_seeded(0, BYTES);
    let store = create_driven(&device, 1, 0);
    let objects = Objects::new(store.clone()).blocking();
    let pinned = PutOptions {
        durability: Durability::Durable,
        pin: true,
    };
    for content in contents() {
        objects.put_with(content, pinned).unwrap();
    }
    objects
        .pin(
            objects.put_with(contents()[3].clone(), pinned).unwrap().id,
            Durability::Durable,
        )
        .unwrap();
    let trees = Trees::new(store.clone(), Domain(0));
    let first = commit(&store, &trees, 1);
    store.block_on(async {
        trees.create_tag("v1", first, false).await.unwrap();
        trees.create_branch("doomed", first).await.unwrap();
        trees
            .create_branch_until("leaves", first, EXPIRES_NS)
            .await
            .unwrap();
        trees
            .set_quotas(&[("main".into(), QUOTA_BYTES)], |_| Ok(vec![5000]))
            .await
            .unwrap();
    });
    let second = commit(&store, &trees, 2);
    drop((trees, objects));
    store.close().unwrap();

    let store = open_driven(&device, 1, 0).unwrap();
    let trees = Trees::new(store.clone(), Domain(0));
    store.block_on(async {
        trees.move_branch("main", first, ExpectHead::Any).await.unwrap();
        trees.move_branch("main", second, ExpectHead::Any).await.unwrap();
    });
    commit(&store, &trees, 3);
    commit(&store, &trees, 4);
    store.block_on(async {
        let keep = Keep {
            last: Some(2),
            ..Keep::default()
        };
        let mut rules = Forgetting::new(keep).unwrap();
        trees.forget("main", &mut rules, false).await.unwrap();
        trees.delete_branch("doomed", ExpectHead::Any).await.unwrap();
        store.collect(Arc::new(TreeTrace), false).await.unwrap();
    });
    device.set_faults(Faults::none().with(Rule::new(On::Write, Effect::Fail(5)).nth(1)));
    commit(&store, &trees, 5);
    assert_eq!(store.health().fences.len(), 1);
    device.set_faults(Faults::none());
    drop(trees);
    abandon(store);

    let store = open_driven(&device, 1, 0).unwrap();
    store.close().unwrap();
    act_as_thread(thread);
    device
}

fn pack(image: &Image) -> Vec<u8> {
    let mut bytes = Vec::new();
    for unit in image.units() {
        let whole = image.peek(unit * UNIT_BYTES as u64, UNIT_BYTES);
        let len = whole
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1);
        bytes.extend_from_slice(&u32::try_from(unit).unwrap().to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(len).unwrap().to_le_bytes());
        bytes.extend_from_slice(&whole[..len]);
    }
    bytes
}

fn unpack(mut bytes: &[u8]) -> Image {
    let mut image = Image::zeroes(BYTES);
    while let Some((head, rest)) = bytes.split_at_checked(8) {
        let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
        let (unit, rest) = rest.split_at(number(4) as usize);
        image.poke(u64::from(number(0)) * UNIT_BYTES as u64, unit);
        bytes = rest;
    }
    image
}

/// Goal: a store written by an earlier build opens, and says what it said. Method: the image in the repository.
#[test]
fn the_golden_image_opens_and_is_complete() {
    let Ok(packed) = std::fs::read(path()) else {
        panic!(
            "{} is missing; write it with HELIOS_GOLDEN=write",
            path().display()
        )
    };
    let device = SimDevice::from_image(0, unpack(&packed));
    let store = open(&device, 1);
    assert_eq!(store.health().damage, []);
    let objects = Objects::new(store.clone()).blocking();
    for content in contents() {
        assert_eq!(objects.get(crate::hash::content_id(&content)).unwrap(), content);
    }
    let trees = Trees::new(store.clone(), Domain(0));
    let names = |kind| {
        store
            .roots(kind)
            .into_iter()
            .map(|root| String::from_utf8_lossy(&root.name).into_owned())
    };
    assert_eq!(names(RootKind::Branch).collect::<Vec<_>>(), ["leaves", "main"]);
    assert_eq!(names(RootKind::Tag).collect::<Vec<_>>(), ["v1"]);
    assert_eq!(
        names(RootKind::Setting).collect::<Vec<_>>(),
        ["history floors", "quota main"]
    );
    assert_eq!(names(RootKind::Pin).count(), contents().len());
    assert_eq!(trees.branch("leaves").unwrap().expires_ns, EXPIRES_NS);
    assert!(trees.branch("main").unwrap().floor_ns > 0);
    let quota = &trees.quotas().unwrap()[0];
    assert_eq!(quota.limit_bytes, QUOTA_BYTES);
    assert!(quota.used_bytes > 5000);
    store.block_on(async {
        let mut tree = trees
            .open_branch("main", WorkingOptions::default())
            .await
            .unwrap();
        for number in 0..60 {
            let step = if (2..6).contains(&(number % 20)) {
                number % 20
            } else {
                1
            };
            assert_eq!(
                tree.read(format!("many/{number:03}")).await.unwrap(),
                file(number, step)
            );
        }
        assert_eq!(tree.read("deep/tool").await.unwrap(), contents()[7]);
        assert_eq!(tree.stat("deep/tool").await.unwrap().entry.mode & 0o777, 0o755);
        assert!(tree.exists("link").await.unwrap());
        let history = trees.resolve("main~1").await.unwrap();
        assert_eq!(trees.read_commit(history.commit).await.unwrap().message, "step 4");
        let audit = store.audit().await.unwrap();
        assert_eq!(audit.first_wrong, [""; 0]);
        assert!(audit.dead > 0, "the collection forgot something");
        for segment in 0..store.segment_count() {
            let scrubbed = store.scrub_segment(SegmentId(segment), |_| true).await.unwrap();
            assert!(scrubbed.is_none_or(|scrubbed| scrubbed.damaged.is_empty() && !scrubbed.footer_damaged));
        }
    });
    store.close().unwrap();
}

/// Goal: no byte of the format changes unnoticed. Method: the same workload must write the golden image again.
#[test]
fn the_golden_image_is_still_what_is_written() {
    let packed = pack(&write().image());
    if std::env::var_os("HELIOS_GOLDEN").is_some_and(|word| word == "write") {
        std::fs::write(path(), &packed).unwrap();
    }
    let golden = std::fs::read(path()).unwrap_or_default();
    assert!(
        golden == packed,
        "what is written has changed; if that is meant, see golden/README.md"
    );
}

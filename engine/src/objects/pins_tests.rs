//! Tests of pins: counting, limits, survival.

use super::testing::{noise, objects};
use super::*;
use crate::error::Error;
use crate::format::manifest::{Manifest, Piece, Role};
use crate::hash::content_id;
use crate::store::testing as stores;

/// Goal: pins count. Method: up, down, to zero and below; small and large content; unknown content.
#[test]
fn pins_count_up_and_down() {
    let objects = objects();
    for content in [b"small".to_vec(), noise(2 << 20, 1)] {
        let id = objects.put(content).expect("put").id;
        assert_eq!(objects.pin_count(id).expect("count"), 0);
        for count in 1..=3 {
            assert_eq!(objects.pin(id, Durability::Visible).expect("pin"), count);
        }
        assert_eq!(objects.pins().expect("pins"), [Pin { id, count: 3 }]);
        for count in [2, 1, 0] {
            assert_eq!(objects.unpin(id, Durability::Durable).expect("unpin"), count);
            assert_eq!(objects.pin_count(id).expect("count"), count);
        }
        let error = objects.unpin(id, Durability::Visible).expect_err("below zero");
        assert!(
            matches!(&error, Error::NotFound { what } if what.contains("pin of")),
            "{error}"
        );
        assert_eq!(objects.pins().expect("pins"), []);
    }
    let unknown = content_id(b"unknown");
    assert!(matches!(
        objects.pin(unknown, Durability::Visible),
        Err(Error::NotFound { .. })
    ));
    assert_eq!(objects.pin_count(unknown).expect("count"), 0);
}

/// Goal: a put can pin what it puts, each as often as it is put, or refuses as a whole. Method: a batch with a
/// repeated content; a batch of too many.
#[test]
fn puts_can_pin() {
    let objects = objects();
    let options = PutOptions {
        pin: true,
        ..PutOptions::default()
    };
    let contents = ["one", "two", "one"].map(bytes::Bytes::from);
    let puts = objects.put_batch(&contents, options).expect("put");
    assert_eq!(objects.pin_count(puts[0].id).expect("count"), 2);
    assert_eq!(objects.pin_count(puts[1].id).expect("count"), 1);
    let held = puts[0].lease().keys();
    assert!(
        puts.iter()
            .all(|put| held.contains(&objects.key(put.id, put.length)))
    );

    let many: Vec<bytes::Bytes> = (0..1025u32).map(|at| at.to_le_bytes().to_vec().into()).collect();
    assert!(matches!(
        objects.put_batch(&many, options),
        Err(Error::Invalid { .. })
    ));
    assert!(!objects.exists(content_id(&many[0])).unwrap());
    assert_eq!(
        objects
            .put_batch(&many[1..], options)
            .expect("as many as allowed")
            .len(),
        1024
    );
    assert_eq!(objects.pins().expect("pins").len(), 1026);
}

/// Goal: durable pins survive the end of the process. Method: abandon the store, reopen, compare.
#[test]
fn pins_survive() {
    let device = stores::device(256 << 20);
    let store = stores::create(&device, 1);
    let objects = Objects::new(store.clone()).blocking();
    let id = objects.put(noise(3 << 20, 4)).expect("put").id;
    objects.pin(id, Durability::Visible).expect("pin");
    objects.pin(id, Durability::Durable).expect("pin");
    drop(objects);
    stores::abandon(store);
    let objects = Objects::new(stores::open(&device, 1)).blocking();
    assert_eq!(objects.pins().expect("pins"), [Pin { id, count: 2 }]);
    assert_eq!(objects.unpin(id, Durability::Durable).expect("unpin"), 1);
}

/// Goal: no pin is lost between threads. Method: four threads pin the same content 50 times each.
#[test]
fn concurrent_pins_all_count() {
    let objects = objects();
    let id = objects.put("popular").expect("put").id;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    objects.pin(id, Durability::Visible).expect("pin");
                }
            });
        }
    });
    assert_eq!(objects.pin_count(id).expect("count"), 200);
}

/// Goal: a part of a manifest is no content. Method: plant one; get and pin must refuse it.
#[test]
fn parts_cannot_be_pinned_or_got() {
    let objects = objects();
    let part = Manifest::encode(Role::Part, 0, &[Piece::Hole { length: 5 << 20 }]);
    let id = Manifest::part_id(&part);
    testing::plant(&objects, Kind::Manifest, id, part);
    assert!(matches!(
        objects.pin(id, Durability::Visible),
        Err(Error::Inconsistent { .. })
    ));
    assert!(matches!(objects.get(id), Err(Error::Inconsistent { .. })));
}

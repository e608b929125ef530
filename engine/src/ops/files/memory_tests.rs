//! What an open tree holds, and what its steps ask for.

use std::cell::Cell;

use bytes::Bytes;

use super::tests::{Bench, commit, replace, whole, write};
use super::*;
use crate::ops::Class;

/// A room of that size.
struct Bounded(Cell<u64>);

impl Room for Bounded {
    fn take(&self, bytes: u64) -> Result<(), Failure> {
        match self.0.get().checked_sub(bytes) {
            Some(left) => {
                self.0.set(left);
                Ok(())
            }
            None => Err(Failure::busy("no room", 1)),
        }
    }

    fn give_back(&self, bytes: u64) {
        self.0.set(self.0.get() + bytes);
    }
}

fn path(number: usize) -> String {
    format!("d{}/f{number}", number / 50)
}

/// Goal: a tree keeps a bounded part of what it has looked at, also within one call. Method: one file of each of 400 directories,
/// all in one call, then one at a time with changes among them.
#[test]
fn a_tree_keeps_a_part_of_what_it_has_read() {
    let bench = Bench::new();
    let mut files = bench.new_branch("main");
    for first in (0..20_000).step_by(1_000) {
        let numbers = first..first + 1_000;
        let steps: Vec<FileStep> = numbers
            .clone()
            .map(|number| write(&path(number), path(number).len(), None))
            .collect();
        let body: String = numbers.map(path).collect();
        let (results, _) = bench.run(&mut files, &steps, body.as_bytes());
        assert_eq!(results.failed, None);
    }
    bench.step(&mut files, commit(), b"");
    assert!(files.memory_bytes() < 600 << 10, "{}", files.memory_bytes());
    let steps: Vec<FileStep> = (0..20_000)
        .step_by(50)
        .map(|number| whole(&path(number)))
        .collect();
    let (results, read) = bench.run(&mut files, &steps, b"");
    assert_eq!((results.failed, read.len()), (None, 400));
    assert!(
        (100 << 10..600 << 10).contains(&files.memory_bytes()),
        "{}",
        files.memory_bytes()
    );
    for number in (0..20_000).step_by(50) {
        bench.step(&mut files, write(&path(number), 3, None), b"new");
        if number % 1_000 == 0 {
            bench.step(&mut files, commit(), b"");
            assert!(files.memory_bytes() < 700 << 10, "{}", files.memory_bytes());
        }
    }
    files.release(0);
    assert_eq!(bench.read(&mut files, &path(150)).expect("a file"), b"new");
    assert_eq!(
        bench.read(&mut files, &path(151)).expect("a file"),
        path(151).as_bytes()
    );
}

/// Goal: a small content that waits for the commit does not keep the large body that it came with. Method: many calls, each with a
/// body of which nearly all is written over by the next one.
#[test]
fn what_waits_does_not_keep_whole_bodies() {
    let bench = Bench::new();
    let mut files = bench.new_branch("main");
    for number in 0..200u64 {
        let mut body = vec![number as u8; 300_000];
        body.extend(number.to_le_bytes());
        let steps = [
            write("large", 300_000, None),
            write(&format!("small/{number}"), 8, None),
        ];
        let (results, _) = bench.run(&mut files, &steps, &body);
        assert_eq!(results.failed, None);
        assert!(files.memory_bytes() < 6 << 20, "{}", files.memory_bytes());
    }
    for committed in [false, true] {
        for number in (0..200u64).step_by(7) {
            let small = bench.read(&mut files, &format!("small/{number}"));
            assert_eq!(small.expect("a file"), number.to_le_bytes());
        }
        assert!(bench.read(&mut files, "large").expect("a file") == vec![199; 300_000]);
        if !committed {
            bench.step(&mut files, commit(), b"");
        }
    }
    assert!(files.memory_bytes() < 64 << 10, "{}", files.memory_bytes());
}

/// Goal: steps ask for what they take, and keep of it what they hand over. Method: what is left taken after steps of each kind.
#[test]
fn steps_ask_for_what_they_take() {
    let bench = Bench::new();
    let mut files = bench.new_branch("main");
    let large = vec![7; 3 << 20];
    bench.step(&mut files, write("large", large.len(), None), &large);
    bench.step(&mut files, write("small", 100_000, None), &large[..100_000]);
    let mut left = |step: FileStep, body: &'static [u8]| {
        let room = Unbounded::default();
        let mut read = Vec::new();
        let run = files.run(
            std::slice::from_ref(&step),
            Bytes::from_static(body),
            &mut read,
            &room,
        );
        assert_eq!(bench.store.block_on(run).failed, None, "{step:?}");
        room.taken()
    };
    for committed in [false, true] {
        let part = |path: &str| FileStep::Read {
            path: path.into(),
            offset: 10,
            length: Some(500),
        };
        assert_eq!(left(part("large"), b""), 500);
        assert_eq!(left(part("small"), b""), 500);
        assert_eq!(left(whole("small"), b""), 100_000);
        assert!(left(FileStep::List { path: "".into() }, b"") >= 2 * 100);
        let append = FileStep::Append {
            path: "small".into(),
            bytes: 1,
        };
        assert_eq!(left(append, b"x"), 0);
        let size = 100_000;
        let path = || "small".into();
        assert_eq!(left(FileStep::Truncate { path: path(), size }, b""), 0);
        assert_eq!(left(write("small", 1, Some(5)), b"y"), 0);
        let steps = vec![replace("y", "zz", false), replace("zz", "\u{7}", false)];
        assert_eq!(
            left(
                FileStep::Patch {
                    path: path(),
                    replace: steps
                },
                b""
            ),
            0
        );
        if !committed {
            left(commit(), b"");
        }
    }
}

/// Goal: a step that finds no room fails, and has changed nothing. Method: each kind with less than it needs, then with enough; a
/// patch whose result would be beyond all bounds.
#[test]
fn steps_without_room_change_nothing() {
    let bench = Bench::new();
    let mut files = bench.new_branch("main");
    let content = vec![b'a'; 900_000];
    bench.step(&mut files, write("f", content.len(), None), &content);
    bench.step(&mut files, commit(), b"");
    let path = || "f".into();
    let steps = [
        whole("f"),
        write("f", 1, Some(3)),
        FileStep::Truncate {
            path: path(),
            size: 5,
        },
        FileStep::Patch {
            path: path(),
            replace: vec![replace("a", "b", true)],
        },
    ];
    for step in &steps {
        for (room, is_enough) in [
            (100_000, false),
            (1_000_000, matches!(step, FileStep::Read { .. })),
            (4_000_000, true),
        ] {
            let room = Bounded(Cell::new(room));
            let body = if matches!(step, FileStep::Write { .. }) {
                &b"x"[..]
            } else {
                b""
            };
            let mut read = Vec::new();
            let run = files.run(
                std::slice::from_ref(step),
                Bytes::copy_from_slice(body),
                &mut read,
                &room,
            );
            let results = bench.store.block_on(run);
            let before = room.0.get();
            match results.failed {
                None => assert!(is_enough || before > 0, "{step:?}"),
                Some(failure) => {
                    assert!(!is_enough, "{step:?}: {failure:?}");
                    assert_eq!((failure.class, failure.retry_after_ms), (Class::Busy, Some(1)));
                    assert!(!results.changed && read.is_empty());
                }
            }
            bench.step(&mut files, FileStep::Reset { to_head: false }, b"");
        }
    }
    assert!(bench.read(&mut files, "f").expect("a file") == content);
    let bomb = FileStep::Patch {
        path: path(),
        replace: vec![replace("a", &"b".repeat(1 << 20), true)],
    };
    let (results, _) = bench.run(&mut files, &[bomb], b"");
    assert_eq!(results.failed.expect("too large").class, Class::Invalid);
    assert!(!results.changed);
}

use std::rc::Rc;

use helios_engine::ops::files::Room;
use helios_engine::ops::{Class, Failure};

use super::share::RETRY_AFTER_MS;
use super::*;

/// A tree that can go down to a part of what it holds.
struct Tree {
    held: Held,
    least: usize,
    _counted: OneTree,
}

impl Holder for Tree {
    fn release_idle(&self, keep_bytes: usize) {
        if self.held.bytes() > keep_bytes {
            self.held.resize(keep_bytes.max(self.least));
        }
    }
}

/// A connection on this thread's reactor with a tree of that size.
fn connection(memory: &Arc<Memory>, bytes: usize, least: usize) -> (Rc<Share>, Rc<Tree>) {
    let share = Share::on(memory, 0);
    let tree = Rc::new(Tree {
        held: share.hold(bytes),
        least,
        _counted: share.tree(),
    });
    let weak = Rc::downgrade(&tree);
    share.belongs_to(weak);
    share.called();
    (share, tree)
}

fn refusal(claimed: Result<Held, Failure>) -> Failure {
    match claimed {
        Ok(_) => panic!("it was granted"),
        Err(failure) => failure,
    }
}

/// Goal: what is held is known at any time, and all of it is given back. Method: claims, growth, shrinking; figures after each.
#[test]
fn all_is_given_back() {
    let memory = Memory::of(64 << 20, &[], 1);
    let share = Share::on(&memory, 0);
    let one = share.claim(3 << 20).expect("room");
    let other = share.hold(5 << 20);
    assert_eq!(memory.figures().held, 8 << 20);
    one.resize(1 << 20);
    Room::take(&other, 2 << 20).expect("room");
    assert_eq!(memory.figures().held, 8 << 20);
    assert!(memory.set_aside.load(Relaxed) >= 8 << 20);
    Room::give_back(&other, 2 << 20);
    drop(one);
    assert_eq!((memory.figures().held, share.held.get()), (5 << 20, 5 << 20));
    drop((other, share));
    assert_eq!(memory.figures().held, 0);
    assert_eq!(memory.set_aside.load(Relaxed), 0);
    assert_eq!(memory.figures().refused, 0);
}

/// Goal: nothing beyond the limit is granted, and what is refused says when to come again; reads have some room that work has
/// not. Method: claims until the end, by one connection that may have all.
#[test]
fn the_limit_holds() {
    let memory = Memory::of(16 << 20, &[], 1);
    assert_eq!(memory.connection_limit(), 16 << 20);
    let share = Share::on(&memory, 0);
    let mut granted = Vec::new();
    let failure = loop {
        match share.claim(100_000) {
            Ok(held) => granted.push(held),
            Err(failure) => break failure,
        }
        assert!(granted.len() < 1000);
    };
    assert_eq!(
        (failure.class, failure.retry_after_ms),
        (Class::Busy, Some(RETRY_AFTER_MS))
    );
    assert!(failure.message.contains("16 MiB"), "{}", failure.message);
    assert!(failure.hint.expect("advice").contains("--memory"));
    let held = memory.figures().held;
    assert!((13 << 20..=14 << 20).contains(&held), "{held}");
    let reads = share.hold(0);
    while Room::take(&reads, 100_000).is_ok() {}
    let all = memory.figures().held;
    assert!((15 << 20..=16 << 20).contains(&all), "{all}");
    assert_eq!(memory.figures().refused, 2);
    // What cannot be refused goes beyond, and work is refused until that is gone again.
    let tree = share.hold(4 << 20);
    assert_eq!(memory.figures().held, all + (4 << 20));
    assert_eq!(refusal(share.claim(100_000)).class, Class::Busy);
    granted.truncate(100);
    drop(reads);
    assert!(share.claim(100_000).is_ok());
    drop((tree, granted));
    assert_eq!(memory.figures().held, 0);
}

/// Goal: idle trees go down before anything is refused, those of the quietest connection first, to an equal share before any goes
/// further, and no more than needed. Method: three connections that fill the limit; one calls again.
#[test]
fn idle_trees_go_down_first() {
    let memory = Memory::of(32 << 20, &[], 1);
    let all: Vec<_> = (0..3).map(|_| connection(&memory, 9 << 20, 1 << 20)).collect();
    all[0].0.called();
    let newcomer = Share::on(&memory, 0);
    let sizes = || -> Vec<u64> { all.iter().map(|(_, tree)| tree.held.bytes.get() >> 20).collect() };
    let one = newcomer.claim(4 << 20).expect("somebody makes room");
    assert_eq!(memory.fair() >> 20, 7);
    assert_eq!(sizes(), [9, 7, 7]);
    let two = newcomer.claim(8 << 20).expect("somebody makes room");
    assert_eq!(sizes(), [7, 1, 7]);
    let three = newcomer.claim(6 << 20).expect("somebody makes room");
    assert_eq!(sizes(), [7, 1, 1]);
    assert_eq!(memory.figures().refused, 0);
    assert_eq!(refusal(newcomer.claim(9 << 20)).class, Class::Busy);
    assert_eq!(sizes(), [1, 1, 1]);
    drop((one, two, three));
    assert!(newcomer.claim(9 << 20).is_ok());
}

/// Goal: one connection cannot have everything, and what it may never have is not put off. Method: a limit of which a connection
/// has a part; its own idle trees go down for it, those of others don't.
#[test]
fn a_connection_has_its_part() {
    let memory = Memory::of(512 << 20, &[], 1);
    assert_eq!(memory.connection_limit(), 128 << 20);
    let (_other, others) = connection(&memory, 20 << 20, 0);
    let (share, tree) = connection(&memory, 100 << 20, 90 << 20);
    let held = share.claim(30 << 20).expect("its tree goes down");
    assert_eq!(
        (tree.held.bytes.get(), others.held.bytes.get()),
        (90 << 20, 20 << 20)
    );
    let failure = refusal(share.claim(10 << 20));
    assert_eq!(failure.class, Class::Busy);
    assert!(failure.message.contains("this connection"), "{}", failure.message);
    drop(held);
    assert!(share.claim(10 << 20).is_ok());
    let failure = refusal(share.claim(129 << 20));
    assert_eq!((failure.class, failure.retry_after_ms), (Class::Invalid, None));
}

/// Goal: reactors share the limit, and what one gives back another can have. Method: a thread as a second reactor, with its own
/// account.
#[test]
fn reactors_share_the_limit() {
    let memory = Memory::of(16 << 20, &[], 2);
    let here = Share::on(&memory, 0);
    let held = here.claim(8 << 20).expect("room");
    let there = |bytes: usize| {
        let memory = Arc::clone(&memory);
        std::thread::scope(|scope| {
            let claim = scope.spawn(move || {
                Share::on(&memory, 1)
                    .claim(bytes)
                    .map(drop)
                    .map_err(|failure| failure.class)
            });
            claim.join().expect("no panic")
        })
    };
    assert_eq!(there(5 << 20), Ok(()));
    assert_eq!(there(7 << 20), Err(Class::Busy));
    drop(held);
    assert_eq!(there(7 << 20), Ok(()));
    let figures = memory.figures();
    assert_eq!((figures.held, figures.refused), (0, 1));
}

/// Goal: P10 for the account itself: whatever clients do, what was granted stays within the limit. Method: random claims, growth
/// and ends on several connections; the sum is kept beside it.
#[test]
fn random_clients_stay_within_the_limit() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let memory = Memory::of(8 << 20, &[], 1);
    let shares: Vec<Rc<Share>> = (0..5).map(|_| Share::on(&memory, 0)).collect();
    let mut claims: Vec<Held> = Vec::new();
    for _ in 0..20_000 {
        let share = &shares[random(5) as usize];
        match random(4) {
            0 | 1 => claims.extend(share.claim(random(200_000) as usize)),
            2 if !claims.is_empty() => {
                claims.swap_remove(random(claims.len() as u64) as usize);
            }
            _ if !claims.is_empty() => {
                let claim = &claims[random(claims.len() as u64) as usize];
                claim.resize((claim.bytes.get() - random(claim.bytes.get() + 1)) as usize);
            }
            _ => {}
        }
        let sum: u64 = claims.iter().map(|claim| claim.bytes.get()).sum();
        let set_aside = memory.set_aside.load(Relaxed);
        assert_eq!(memory.figures().held, sum);
        assert!(
            sum <= set_aside && set_aside <= memory.work_limit(),
            "{sum} {set_aside}"
        );
    }
    assert!(memory.figures().refused > 0);
}

/// Goal: what the kernel says of its memory is understood, and without it there is a limit all the same.
#[test]
fn the_default_fits_the_machine() {
    assert_eq!(
        memory_of_host("MemTotal:       24632148 kB\nMemFree: 1 kB\n"),
        Some(24_632_148 << 10)
    );
    assert_eq!(memory_of_host("MemFree: 1 kB\n"), None);
    assert!(default_limit() >= DEFAULT_MIN);
}

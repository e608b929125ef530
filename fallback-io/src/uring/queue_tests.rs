use memmap2::MmapMut;

use super::*;
use crate::queue_tests::{
    doorbells, full_then_dropped, read_only_target, reads_only, refusals, sealed, shortened, target,
    transfers, zeroes_take_space,
};

/// A queue, or `None` with a message where this machine forbids io_uring.
fn open(target: &Arc<Target>, depth: u32) -> Option<Uring<MmapMut>> {
    match Uring::open(target.clone(), depth) {
        Ok(queue) => Some(queue),
        Err(error @ Error::Unusable { .. }) => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Goal: older kernels' setups do the same. Method: the shared checks with each setup but the best.
#[test]
fn plainer_setups_do_too() {
    let (_directory, target) = target(1300);
    if open(&target, 8).is_none() {
        return;
    }
    for from in 1..SETUPS.len() {
        let open = || Uring::open_with(target.clone(), 8, &SETUPS[from..]).expect("open");
        assert!(!open().ring.params().is_setup_single_issuer());
        zeroes_take_space(open(), &target);
        full_then_dropped(8, open);
        doorbells(open());
    }
}

/// See [`transfers`].
#[test]
fn moves_bytes() {
    if let Some(queue) = open(&target(1024).1, 8) {
        transfers(queue);
    }
}

/// See [`zeroes_take_space`].
#[test]
fn writes_zeroes() {
    let (_directory, target) = target(1300);
    if let Some(queue) = open(&target, 8) {
        zeroes_take_space(queue, &target);
    }
}

/// See [`full_then_dropped`].
#[test]
fn is_bounded_and_dropped_safely() {
    let (_directory, target) = target(64);
    if open(&target, 64).is_some() {
        full_then_dropped(64, || open(&target, 64).expect("as before"));
    }
}

/// See [`doorbells`].
#[test]
fn wakes() {
    if let Some(queue) = open(&target(1024).1, 8) {
        doorbells(queue);
    }
}

/// See [`shortened`].
#[test]
fn says_where_a_file_ends() {
    let (_directory, target) = target(4);
    if let Some(queue) = open(&target, 8) {
        shortened(queue, &target);
    }
}

/// See [`refusals`].
#[test]
fn says_what_was_refused() {
    if let Some(queue) = open(&sealed(), 8) {
        refusals(queue);
    }
}

/// See [`reads_only`].
#[test]
fn only_reads() {
    let (_directory, target) = read_only_target();
    if let Some(queue) = open(&target, 8) {
        reads_only(queue);
    }
}

/// Goal: more entries than the ring has room for are kept and sent later. Method: the ring is filled with entries that do
/// nothing, as if the kernel took none for a while; then come 13 commands of zeroes, four pieces each at a time.
#[test]
fn overflowing_entries_wait() {
    let (_directory, target) = target(1024);
    let Some(mut queue) = open(&target, 13) else {
        return;
    };
    for _ in 0..=queue.ring.params().sq_entries() {
        queue.give(opcode::Nop::new().build().user_data(TAG_IGNORED));
    }
    assert!(!queue.backlog.is_empty());
    for token in 0..13 {
        let operation = crate::Operation::WriteZeroes {
            offset: 0,
            len: target.capacity(),
        };
        assert!(queue.submit(Command { token, operation }).is_ok());
    }
    let bell = rustix::event::eventfd(0, rustix::event::EventfdFlags::NONBLOCK).expect("eventfd");
    let bell = Arc::new(bell);
    let mut tokens = Vec::new();
    while tokens.len() < 13 {
        queue.wait(&bell, None);
        queue.poll(|done| {
            done.result.expect("zeroes");
            tokens.push(done.token);
        });
    }
    tokens.sort_unstable();
    assert!(tokens.into_iter().eq(0..13));
    assert_eq!((queue.in_kernel, queue.in_flight()), (0, 0));
}

/// Goal: more mappings than the table holds are simply not registered. Method: register until refused.
#[test]
fn registration_is_bounded() {
    let (_directory, target) = target(16);
    let Some(mut queue) = open(&target, 4) else {
        return;
    };
    let mapping = Arc::new(Mapping::new(4096).expect("map"));
    let mut hints = 0u16;
    while let Some(hint) = queue.register(&mapping) {
        assert_eq!(hint, hints);
        hints += 1;
    }
    assert!(hints <= REGIONS_MAX);
}

use memmap2::MmapMut;

use super::*;
use crate::queue_tests::{
    doorbells, full_then_dropped, read_only_target, reads_only, refusals, sealed, shortened, target,
    transfers, zeroes_take_space,
};

fn open(target: &Arc<Target>, depth: u32) -> Threads<MmapMut> {
    Threads::open(target.clone(), depth).expect("open")
}

/// See [`transfers`].
#[test]
fn moves_bytes() {
    transfers(open(&target(1024).1, 8));
}

/// See [`zeroes_take_space`].
#[test]
fn writes_zeroes() {
    let (_directory, target) = target(1300);
    zeroes_take_space(open(&target, 8), &target);
}

/// See [`full_then_dropped`].
#[test]
fn is_bounded_and_dropped_safely() {
    let (_directory, target) = target(64);
    full_then_dropped(64, || open(&target, 64));
}

/// See [`doorbells`].
#[test]
fn wakes() {
    doorbells(open(&target(1024).1, 8));
}

/// See [`shortened`].
#[test]
fn says_where_a_file_ends() {
    let (_directory, target) = target(4);
    shortened(open(&target, 8), &target);
}

/// See [`refusals`].
#[test]
fn says_what_was_refused() {
    refusals(open(&sealed(), 8));
}

/// See [`reads_only`].
#[test]
fn only_reads() {
    let (_directory, target) = read_only_target();
    reads_only(open(&target, 8));
}

/// Goal: a queue of impossible depth is refused. Method: zero and too many.
#[test]
fn depth_is_bounded() {
    let (_directory, target) = target(1);
    for depth in [0, DEPTH_MAX + 1] {
        let error = Threads::<MmapMut>::open(target.clone(), depth)
            .err()
            .expect("refused");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}

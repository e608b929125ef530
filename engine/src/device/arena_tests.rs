use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

fn buffer(arena: &Arc<Arena>, len: usize) -> DmaBuffer {
    let chunk = || Some((Arc::new(Mapping::new(CHUNK_BYTES).unwrap()), Some(0)));
    arena.own(len, chunk).unwrap_or_else(|| DmaBuffer::heap(len))
}

/// Goal: memory is handed out once at a time, never past the bound, and all of it comes back, on any thread.
/// Method: random buffers from 1 byte to beyond the largest transfer, each stamped with its number and checked
/// before it goes; half are dropped on another thread. Seed printed.
#[test]
fn memory_is_never_shared() {
    let seed = 0x1a7e;
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let arena = Arena::new(3 * CHUNK_BYTES + 1);
    let mut live: Vec<(u8, DmaBuffer)> = Vec::new();
    let check = |(stamp, buffer): &(u8, DmaBuffer)| assert!(buffer.iter().all(|byte| byte == stamp));
    for step in 0..3000u32 {
        if random.random_bool(0.55) {
            let len = match random.random_range(0..10) {
                0 => random.random_range(1..TRANSFER_BYTES_MAX * 2),
                1..4 => random.random_range(1..64 * UNIT_BYTES),
                _ => random.random_range(1..4 * UNIT_BYTES),
            };
            let mut buffer = buffer(&arena, len);
            assert!(buffer.len() >= len && buffer.len() < len + UNIT_BYTES);
            assert!((buffer.as_ptr() as usize).is_multiple_of(UNIT_BYTES));
            buffer.fill(step as u8);
            live.push((step as u8, buffer));
        } else if !live.is_empty() {
            let gone = live.swap_remove(random.random_range(0..live.len()));
            check(&gone);
            if random.random() {
                std::thread::scope(|scope| drop(scope.spawn(move || drop(gone))));
            }
        }
    }
    live.iter().for_each(check);
    drop(live);
    let chunks = arena.chunks.lock();
    assert_eq!(chunks.len(), 3);
    for chunk in chunks.iter() {
        assert_eq!(chunk.used.free, CHUNK_UNITS);
        assert_eq!(chunk.used.words, [0; CHUNK_UNITS / 64]);
    }
}

/// Goal: a full arena falls back to the heap, and memory that came back is used again. Method: take 1 MiB pieces
/// until one lies outside the region; give one back and take it again.
#[test]
fn full_arena_uses_the_heap() {
    let arena = Arena::new(CHUNK_BYTES);
    let mut live: Vec<DmaBuffer> = (0..5).map(|_| buffer(&arena, 1 << 20)).collect();
    let regions: Vec<_> = live.iter().map(DmaBuffer::region).collect();
    assert_eq!(regions, [Some(0), Some(0), Some(0), Some(0), None]);
    let gone = live.remove(2).as_ptr();
    let again = buffer(&arena, 1 << 20);
    assert_eq!(again.as_ptr(), gone);
    assert_eq!(buffer(&arena, TRANSFER_BYTES_MAX + 1).region(), None);
}

/// Goal: an odd size takes its units and no more. Method: three frames of 1 MiB and 64 KiB fit into one chunk,
/// and the rest of it is still to be had.
#[test]
fn odd_sizes_waste_nothing() {
    let arena = Arena::new(CHUNK_BYTES);
    let frame = crate::limits::FRAME_BYTES_MAX;
    let frames: Vec<_> = (0..3).map(|_| buffer(&arena, frame)).collect();
    let rest = buffer(&arena, CHUNK_BYTES - 3 * frame);
    assert!(
        frames
            .iter()
            .chain([&rest])
            .all(|buffer| buffer.region() == Some(0))
    );
    assert_eq!(arena.chunks.lock()[0].used.free, 0);
    assert_eq!(buffer(&arena, 1).region(), None);
}

/// Goal: a buffer keeps its memory when the arena's owner is gone. Method: drop the owner, then use the buffer.
#[test]
fn buffers_outlive_the_owner() {
    let arena = Arena::new(CHUNK_BYTES);
    let mut kept = buffer(&arena, 4 * UNIT_BYTES);
    drop(arena);
    kept.fill(7);
    assert!(kept.iter().all(|byte| *byte == 7));
}

use super::*;
use crate::limits::{TRANSFER_BYTES_MAX, UNIT_BYTES};

/// A supplier that does nothing until told to, and what it was asked.
fn idle() -> (Supplier, Receiver<Sender<Made>>) {
    let (ask, asked) = channel::unbounded();
    (Supplier(ask), asked)
}

fn supply(asked: &Receiver<Sender<Made>>) {
    let answer = asked.try_recv().expect("a chunk was asked for");
    answer
        .try_send(Mapping::new(CHUNK_BYTES).ok())
        .expect("one at a time");
}

fn buffer(arena: &MappedArena, len: usize) -> DmaBuffer {
    arena.buffer(len, |_| Some(7))
}

/// Goal: nobody waits for a chunk, and one is enough at a time. Method: a supplier that makes nothing; buffers come from the
/// heap and one chunk has been asked for; when it is there buffers come from it.
#[test]
fn the_heap_bridges_until_a_chunk_is_ready() {
    let (supplier, asked) = idle();
    let arena = MappedArena::new(8 * CHUNK_BYTES, supplier);
    let early: Vec<_> = (0..10).map(|_| buffer(&arena, TRANSFER_BYTES_MAX)).collect();
    assert!(early.iter().all(|buffer| buffer.region().is_none()));
    assert_eq!(asked.len(), 1);
    supply(&asked);
    let first = buffer(&arena, UNIT_BYTES);
    assert_eq!(first.region(), Some(7));
    assert!(asked.is_empty(), "enough is left");
}

/// Goal: the next chunk is on its way before it is missing, and no more are than the bound has room for. Method: fill an
/// arena of two chunks unit by unit.
#[test]
fn the_next_chunk_is_asked_for_before_it_is_missing() {
    let (supplier, asked) = idle();
    let arena = MappedArena::new(2 * CHUNK_BYTES, supplier);
    supply(&asked);
    let units = CHUNK_BYTES / UNIT_BYTES;
    let mut live = Vec::new();
    for number in 0..2 * units {
        live.push(buffer(&arena, UNIT_BYTES));
        assert_eq!(live[number].region(), Some(7), "buffer {number}");
        assert_eq!(
            asked.len(),
            usize::from(number == units / 2),
            "after buffer {number}"
        );
        if !asked.is_empty() {
            supply(&asked);
        }
    }
    assert_eq!(buffer(&arena, UNIT_BYTES).region(), None, "the arena is full");
    assert!(asked.is_empty());
}

/// Goal: a machine without memory for a chunk is asked again, not for ever refused. Method: answer that there was none, then
/// with a chunk.
#[test]
fn a_chunk_that_could_not_be_made_is_asked_for_again() {
    let (supplier, asked) = idle();
    let arena = MappedArena::new(CHUNK_BYTES, supplier);
    asked.try_recv().unwrap().try_send(None).unwrap();
    assert_eq!(buffer(&arena, UNIT_BYTES).region(), None);
    supply(&asked);
    assert_eq!(buffer(&arena, UNIT_BYTES).region(), Some(7));
}

/// Goal: the thread makes what is asked, and ends with its last user. Method: wait for a chunk; drop everything, and wait
/// until the thread's end of the channel has gone.
#[test]
fn the_thread_serves_and_ends() {
    let supplier = Supplier::start().unwrap();
    let (answer, made) = channel::bounded(1);
    supplier.0.send(answer.clone()).unwrap();
    assert_eq!(made.recv().unwrap().unwrap().len(), CHUNK_BYTES);
    // What has been asked is made before the thread ends, and its end of the channel goes with it.
    supplier.0.send(answer).unwrap();
    drop(supplier);
    assert!(made.recv().unwrap().is_some());
    assert!(made.recv().is_err());
}

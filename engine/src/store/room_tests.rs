//! What waits for room, is woken and is refused, without a store around it.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::room::*;

/// Goal: nobody waits for the room of a fenced log. Method: a batch waits, the log is fenced, and the segment that was
/// being attached, or offered, arrives only then; it is too small for the batch.
#[test]
fn a_segment_that_comes_after_the_fence_gives_no_hope() {
    let arrivals: [fn(&Room); 3] = [
        |room| room.attach(10),
        |room| room.hope(),
        |room| room.exhaust(Exhausted::Disk),
    ];
    for arrive in arrivals {
        let room = Room::default();
        let mut waiting = pin!(room.take(100, false, || ()));
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(waiting.as_mut().poll(&mut context), Poll::Pending);
        room.exhaust(Exhausted::Fenced);
        arrive(&room);
        let Poll::Ready(Err(refused)) = waiting.as_mut().poll(&mut context) else {
            panic!("it waits for a segment that nobody attaches");
        };
        assert_eq!(refused.reason, Exhausted::Fenced);
    }
}

/// Goal: a removal that is admitted can be written. Method: a log that could get no segment is asked for the room of a
/// removal, before and after it has had one.
#[test]
fn removals_need_a_segment() {
    let room = Room::default();
    let mut context = Context::from_waker(Waker::noop());
    room.exhaust(Exhausted::Store);
    let refused = pin!(room.take(100, true, || ())).poll(&mut context);
    assert!(matches!(refused, Poll::Ready(Err(_))), "{refused:?}");
    room.attach(10);
    room.exhaust(Exhausted::Store);
    let taken = pin!(room.take(100, true, || ())).poll(&mut context);
    assert_eq!(taken, Poll::Ready(Ok(())));
}

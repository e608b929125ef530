//! What waits for room, is woken and is refused, without a store around it.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;

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

//! How a batch goes to the log: whole, or in parts.

use super::store_tests::{contents, put};
use super::testing;

/// Goal: what an agent's step makes is one part, so that it is looked up and written once; what is much larger is several, so
/// that little is lost at the end of a segment. Method: batches of given sizes, and how many parts of them came into frames.
#[test]
fn a_step_is_one_part_and_a_large_batch_is_several() {
    let device = testing::device(256 << 20);
    let store = testing::create(&device, 1);
    for (count, len, parts) in [
        (50, 4096, 1),
        (67, 4096, 1),
        (90, 4096, 1),
        (140, 4096, 2),
        (16, 256 << 10, 16),
    ] {
        let before = store.stats().batches;
        let mut seen = contents(count, len);
        // Contents that no round before has put.
        for bytes in &mut seen {
            *bytes = [bytes, &before.to_le_bytes()[..]].concat().into();
        }
        store.block_on(put(&store, &seen)).expect("there is room");
        store.block_on(store.flush()).expect("durable");
        assert_eq!(store.stats().batches - before, parts, "{count} of {len} bytes");
    }
    store.close().unwrap();
}

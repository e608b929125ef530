//! Entries: what goes in comes out, at every width.

use proptest::prelude::*;

use super::entry::is_up;
use super::*;
use crate::format::SegmentId;
use crate::limits::{SEGMENT_BYTES, UNIT_BYTES};

/// Stores of every size: segments as the format allows and as a superblock may claim.
fn all_widths() -> impl Strategy<Value = Widths> {
    (20u32..=32, 0u32..=32).prop_map(|(offset_bits, segment_bits)| {
        let segments = u32::try_from(1u64 << segment_bits).unwrap_or(u32::MAX);
        Widths::of(1 << offset_bits, segments)
    })
}

fn all_keys() -> impl Strategy<Value = IndexKey> {
    (0..STRIPES, any::<u8>(), any::<u128>())
        .prop_map(|(stripe, print, tail)| IndexKey::of(stripe, print, tail & ((1 << 110) - 1)))
}

/// A slot that fits, made of any numbers.
fn fitting(widths: Widths, (form, first, second, third): (u8, u32, u32, u32)) -> Slot {
    let low = |value: u32, bits: u32| (u64::from(value) & ((1 << bits) - 1)) as u32;
    let unit = UNIT_BYTES as u32;
    let segment = SegmentId(low(first, widths.address_bits - widths.offset_bits));
    let offset = low(second, widths.offset_bits);
    match form {
        0 => Slot::Stored {
            segment,
            offset: offset | 1,
            stored_len: low(third, 15),
        },
        1 => Slot::Stored {
            segment,
            offset: offset / unit * unit,
            stored_len: low(third, 21),
        },
        _ => Slot::Pending {
            slot: low(first, 14),
            item: low(second, 16),
            generation: third as u16,
        },
    }
}

fn numbers() -> impl Strategy<Value = (u8, u32, u32, u32)> {
    // All ones as well as anything.
    let number = || prop_oneof![any::<u32>(), Just(u32::MAX), Just(0)];
    (0u8..3, number(), number(), number())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// Goal: packing loses nothing of a slot, a key or a flag, whatever the geometry. Method: any slot that fits, there
    /// and back beside any key and flags; then another slot in its place.
    #[test]
    fn entries_keep_what_they_are_given(
        widths in all_widths(), key in all_keys(), slots in (numbers(), numbers()), flags in 0u64..4
    ) {
        let (first, second) = (fitting(widths, slots.0), fitting(widths, slots.1));
        prop_assert!(widths.can_hold(first) && widths.can_hold(second));
        let sought = widths.sought(&key);
        let mut entry = widths.entry(&sought, first) | u128::from(flags);
        for slot in [first, second] {
            entry = widths.with_slot(entry, slot);
            prop_assert_eq!(widths.slot_of(entry), slot);
            prop_assert!(sought.is(entry));
            prop_assert_eq!(is_up(entry, Flag::Marked), flags & 1 != 0);
            prop_assert_eq!(is_up(entry, Flag::Shared), flags & 2 != 0);
            let known = IndexKey::of(key.stripe(), key.print(), widths.tail_of(entry, sought.spread));
            prop_assert_eq!(known, widths.known(&key));
            prop_assert_eq!(widths.spread_of(entry, sought.spread), sought.spread);
            // To the index it is the same key.
            prop_assert!(widths.sought(&known).is(entry));
        }
    }

    /// Goal: a torn read does no harm. Method: any 128 bits are some slot.
    #[test]
    fn any_bits_are_some_slot(widths in all_widths(), low in any::<u64>(), high in any::<u64>()) {
        let _ = widths.slot_of(u128::from(high) << 64 | u128::from(low));
    }
}

/// Bits of a key that flipped make another key of it.
fn bits_told_apart(widths: Widths) -> u32 {
    let key = IndexKey::of(3, 5, 0x1234_5678_9abc_def0_1122_3344_5566);
    let sought = widths.sought(&key);
    let entry = widths.entry(
        &sought,
        Slot::Pending {
            slot: 1,
            item: 2,
            generation: 3,
        },
    );
    let implied = (1u32 << widths.implied_bits()) - 1;
    let tail = (0..110).filter(|bit| {
        let other = widths.sought(&IndexKey::of(3, 5, key.tail() ^ 1 << bit));
        // Another bucket, or another entry.
        !other.is(entry) || (other.spread ^ sought.spread) & implied != 0
    });
    10 + 8 + tail.count() as u32
}

/// Goal: as much of a key is known as promised. Method: flip every bit of a key, in stores of all sizes.
#[test]
fn enough_of_a_key_is_known() {
    for size_bits in 26..=46 {
        for segment_bytes in SEGMENT_BYTES {
            let widths = Widths::of(segment_bytes, ((1u64 << size_bits) / segment_bytes) as u32);
            let bits = bits_told_apart(widths);
            assert!(bits >= KEY_BITS, "{bits} bits of 2^{size_bits} bytes");
            assert!(
                widths.implied_bits() <= (size_bits as u32).saturating_sub(36),
                "2^{size_bits}"
            );
        }
    }
    // Twice as large, one bit less.
    assert_eq!(bits_told_apart(Widths::of(64 << 20, 1 << 22)), KEY_BITS - 2);
}

/// Goal: what no log writes is refused, not cut off. Method: one too many of everything.
#[test]
fn slots_that_do_not_fit_are_known() {
    let widths = Widths::of(4 << 20, 1 << 10);
    let stored = |segment: u32, offset, stored_len| Slot::Stored {
        segment: SegmentId(segment),
        offset,
        stored_len,
    };
    for fits in [
        stored(1023, 4095, 32_767),
        stored(0, 4096, (2 << 20) - 1),
        stored(7, 0, 0),
    ] {
        assert!(widths.can_hold(fits), "{fits:?}");
    }
    for beyond in [
        stored(1024, 0, 1),
        stored(0, 4 << 20, 0),
        stored(0, 4097, 32_768),
        stored(0, 4096, 2 << 20),
    ] {
        assert!(!widths.can_hold(beyond), "{beyond:?}");
    }
    let pending = |slot, item| Slot::Pending {
        slot,
        item,
        generation: 9,
    };
    assert!(widths.can_hold(pending(PENDING_PLACES_MAX - 1, 65_535)));
    assert!(!widths.can_hold(pending(PENDING_PLACES_MAX, 0)) && !widths.can_hold(pending(0, 65_536)));
}

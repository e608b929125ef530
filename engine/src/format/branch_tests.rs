use std::mem::offset_of;

use super::*;

/// Goal: the structs are where the byte tables say. Method: offsets.
#[test]
fn fields_are_where_the_tables_say() {
    assert_eq!(offset_of!(BranchHeader, jumps), 2);
    assert_eq!(offset_of!(BranchHeader, created_ns), 4);
    assert_eq!(offset_of!(BranchHeader, known_since_ns), 12);
    assert_eq!(offset_of!(BranchHeader, base_time_ns), 20);
    assert_eq!(offset_of!(BranchJump, base_time_ns), 8);
    assert_eq!(offset_of!(BranchJump, old_head), 16);
}

/// Goal: data reads back and stays within a root record. Method: more jumps than fit, at one moment.
#[test]
fn jumps_are_bounded_and_rise() {
    let mut data = BranchData::new(100, 90);
    for index in 0..BRANCH_JUMPS_MAX as u64 + 5 {
        data.jump(100, ContentId([1; 32]), index);
        assert_eq!(BranchData::decode(&data.encode()).unwrap(), data);
        assert!(data.encode().len() <= ROOT_DATA_BYTES_MAX);
    }
    assert_eq!(data.jumps.len(), BRANCH_JUMPS_MAX);
    assert_eq!(
        (data.created_ns, data.known_since_ns, data.base_time_ns),
        (100, 105, 4)
    );
}

/// Goal: damaged data is refused or still has one encoding. Method: flip every bit, cut at every length.
#[test]
fn every_accepted_bit_flip_is_canonical() {
    let mut data = BranchData::new(100, 90);
    data.jump(200, ContentId([1; 32]), 150);
    data.jump(300, ContentId([2; 32]), 250);
    let bytes = data.encode();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(read) = BranchData::decode(&flipped) {
            assert_eq!(read.encode(), flipped);
        }
    }
    for length in 0..bytes.len() {
        assert!(BranchData::decode(&bytes[..length]).is_err());
    }
}

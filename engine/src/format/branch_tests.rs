use std::mem::offset_of;

use super::*;

/// Goal: the structs are where the byte tables say. Method: offsets.
#[test]
fn fields_are_where_the_tables_say() {
    assert_eq!(offset_of!(BranchHeader, jumps), 2);
    assert_eq!(offset_of!(BranchHeader, kept), 4);
    assert_eq!(offset_of!(BranchHeader, created_ns), 8);
    assert_eq!(offset_of!(BranchHeader, known_since_ns), 16);
    assert_eq!(offset_of!(BranchHeader, base_time_ns), 24);
    assert_eq!(offset_of!(BranchHeader, floor_ns), 32);
    assert_eq!(offset_of!(BranchHeader, expires_ns), 40);
    assert_eq!(offset_of!(BranchHeader, stored_bytes), 48);
    assert_eq!(offset_of!(BranchHeader, stored_since_ns), 56);
    assert_eq!(offset_of!(BranchJump, base_time_ns), 8);
    assert_eq!(offset_of!(BranchJump, floor_ns), 16);
    assert_eq!(offset_of!(BranchJump, old_head), 24);
}

/// Goal: data reads back and stays within a root record. Method: more jumps than fit, at one moment.
#[test]
fn jumps_are_bounded_and_rise() {
    let mut data = BranchData::new(100, 90, 0);
    for index in 0..BRANCH_JUMPS_MAX as u64 + 5 {
        data.jump(100, ContentId([1; 32]), index, 0);
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
    let mut data = BranchData::new(100, 90, 0);
    data.jump(200, ContentId([1; 32]), 150, 20);
    data.jump(300, ContentId([2; 32]), 250, 0);
    data.kept = vec![ContentId([3; 32]), ContentId([4; 32])];
    data.expires_ns = 77;
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

/// Goal: cutting forgets what lies before and never gives anything back. Method: a branch that moved between histories
/// with floors of their own, cut twice; more kept commits than there is room for.
#[test]
fn a_cut_raises_every_floor() {
    let mut data = BranchData::new(100, 90, 10);
    data.jump(200, ContentId([1; 32]), 150, 40);
    data.jump(300, ContentId([2; 32]), 250, 20);
    let many: Vec<ContentId> = (0..=u8::try_from(BRANCH_KEPT_MAX).unwrap())
        .rev()
        .map(|number| ContentId([number; 32]))
        .collect();
    data.cut(30, &many);
    let floors: Vec<u64> = data.jumps.iter().map(|jump| jump.floor_ns.get()).collect();
    assert_eq!((data.floor_ns, floors), (30, vec![30, 40]));
    assert_eq!(data.kept.len(), BRANCH_KEPT_MAX);
    assert!(
        !data.kept.contains(&ContentId([0; 32])),
        "the last ones have no room"
    );
    assert!(data.encode().len() <= ROOT_DATA_BYTES_MAX);
    assert_eq!(BranchData::decode(&data.encode()).unwrap(), data);
    data.cut(250, &[]);
    assert_eq!(
        (data.jumps.len(), data.known_since_ns, data.base_time_ns),
        (1, 200, 150)
    );
    data.cut(5, &[]);
    assert_eq!((data.floor_ns, data.jumps[0].floor_ns.get()), (250, 250));
}

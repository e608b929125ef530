use super::*;
use crate::format::Domain;

fn key(kind: Kind, bytes: &[u8]) -> Key {
    Key {
        domain: Domain(0),
        kind,
        id: hash::typed_id(kind, bytes),
    }
}

/// Goal: each item gets its own verdict, whatever it is judged with. Method: right and wrong items of all hashed
/// kinds, interleaved, in one call, and each by itself.
#[test]
fn verdicts_belong_to_their_items() {
    let kinds = [Kind::Data, Kind::Node, Kind::Commit, Kind::VolumeNode];
    let items: Vec<(Key, Vec<u8>)> = (0..40u8)
        .map(|number| {
            let right = vec![number; 100 * usize::from(number)];
            let key = key(kinds[usize::from(number) % 4], &right);
            let mut bytes = right;
            if number % 3 == 0 {
                bytes.push(1);
            }
            (key, bytes)
        })
        .collect();
    let items: Vec<(Key, &[u8])> = items.iter().map(|(key, bytes)| (*key, &bytes[..])).collect();
    let expected: Vec<bool> = (0..40).map(|number| number % 3 != 0).collect();
    assert_eq!(hold(&items), expected);
    let one_by_one: Vec<bool> = items.iter().map(|item| hold(&[*item])[0]).collect();
    assert_eq!(one_by_one, expected);
}

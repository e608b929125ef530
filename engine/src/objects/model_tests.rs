//! The content store against a map: any sequence of operations gives the same answers.

use std::collections::HashMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::testing::{noise, objects};
use super::*;
use crate::error::Error;
use crate::hash::content_id;

/// One operation on contents named by small numbers.
#[derive(Debug, Clone)]
enum Operation {
    Put(usize, PutOptions),
    PutBatch(Vec<usize>),
    PutStream(usize, usize),
    Get(usize),
    GetBatch(Vec<usize>),
    Range(usize, u64, u64),
    Pin(usize),
    Unpin(usize),
}

const CONTENTS: usize = 12;

/// Content `number`: of every class of size, with and without holes.
fn content(number: usize) -> Bytes {
    let seed = number as u64;
    Bytes::from(match number {
        0 => Vec::new(),
        1 => vec![0; 3 << 20],
        2 => [noise(2_000_000, seed), vec![0; 500_000]].concat(),
        3 => [vec![0; 66_000], noise(1_500_000, seed), vec![0; 66_000], vec![1]].concat(),
        4 => noise(EXTENT_BYTES_MAX, seed),
        5 => noise(EXTENT_BYTES_MAX + 1, seed),
        _ => noise(number * number * 997, seed),
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    let number = 0..CONTENTS;
    let some = prop::collection::vec(0..CONTENTS, 0..5);
    let options = (any::<bool>(), any::<bool>()).prop_map(|(durable, pin)| PutOptions {
        durability: if durable {
            Durability::Durable
        } else {
            Durability::Visible
        },
        pin,
    });
    prop_oneof![
        (number.clone(), options).prop_map(|(number, options)| Operation::Put(number, options)),
        some.clone().prop_map(Operation::PutBatch),
        (number.clone(), 1usize..3_000_000).prop_map(|(number, piece)| Operation::PutStream(number, piece)),
        number.clone().prop_map(Operation::Get),
        some.prop_map(Operation::GetBatch),
        (number.clone(), 0u64..3 << 20, 0u64..1 << 20)
            .prop_map(|(number, at, len)| Operation::Range(number, at, len)),
        number.clone().prop_map(Operation::Pin),
        number.prop_map(Operation::Unpin),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Goal: the store is a map from id to content, with counted pins. Method: random operations on it and on a
    /// `HashMap`; proptest prints the failing sequence.
    #[test]
    fn any_sequence_of_operations(operations in prop::collection::vec(operation(), 1..40)) {
        let objects = objects();
        let contents: Vec<Bytes> = (0..CONTENTS).map(content).collect();
        let ids: Vec<ContentId> = contents.iter().map(|content| content_id(content)).collect();
        let mut pins: HashMap<usize, u64> = HashMap::new();
        let mut known = [false; CONTENTS];
        let check = |put: &Put, number: usize, known: &mut [bool; CONTENTS]| {
            assert_eq!((put.id, put.length), (ids[number], contents[number].len() as u64));
            assert_eq!(put.new, !std::mem::replace(&mut known[number], true), "content {number}");
        };
        for operation in operations {
            match operation {
                Operation::Put(number, options) => {
                    let put = objects.put_with(contents[number].clone(), options).expect("put");
                    check(&put, number, &mut known);
                    *pins.entry(number).or_default() += u64::from(options.pin);
                }
                Operation::PutBatch(numbers) => {
                    let batch: Vec<Bytes> = numbers.iter().map(|number| contents[*number].clone()).collect();
                    let puts = objects.put_batch(&batch, PutOptions::default()).expect("batch");
                    prop_assert_eq!(puts.len(), numbers.len());
                    for (put, number) in puts.iter().zip(numbers) {
                        check(put, number, &mut known);
                    }
                }
                Operation::PutStream(number, piece) => {
                    let mut writer = objects.put_stream(PutOptions::default());
                    for piece in contents[number].chunks(piece) {
                        std::io::Write::write_all(&mut writer, piece).expect("write");
                    }
                    check(&writer.finish().expect("finish"), number, &mut known);
                }
                Operation::Get(number) => match objects.get(ids[number]) {
                    Ok(bytes) => prop_assert!(known[number] && bytes == contents[number]),
                    Err(error) => assert!(!known[number] && matches!(error, Error::NotFound { .. }), "{error}"),
                },
                Operation::GetBatch(numbers) => {
                    let asked: Vec<ContentId> = numbers.iter().map(|number| ids[*number]).collect();
                    for (answer, number) in objects.get_batch(&asked).into_iter().zip(numbers) {
                        prop_assert_eq!(answer.ok(), known[number].then(|| contents[number].clone()));
                    }
                }
                Operation::Range(number, at, length) => {
                    let end = (at + length).min(contents[number].len() as u64);
                    let expected = (known[number] && at <= contents[number].len() as u64)
                        .then(|| contents[number].slice(at as usize..end.max(at) as usize));
                    prop_assert_eq!(objects.get_range(ids[number], at..at + length).ok(), expected);
                }
                Operation::Pin(number) => {
                    let expected = known[number].then(|| pins.get(&number).copied().unwrap_or(0) + 1);
                    prop_assert_eq!(objects.pin(ids[number], Durability::Visible).ok(), expected);
                    *pins.entry(number).or_default() += u64::from(known[number]);
                }
                Operation::Unpin(number) => {
                    let count = pins.entry(number).or_default();
                    prop_assert_eq!(objects.unpin(ids[number], Durability::Visible).ok(), count.checked_sub(1));
                    *count = count.saturating_sub(1);
                }
            }
        }
        prop_assert_eq!(objects.exist(&ids).unwrap(), known.to_vec());
        let mut expected: Vec<Pin> =
            pins.iter().filter(|(_, count)| **count > 0).map(|(at, count)| Pin { id: ids[*at], count: *count }).collect();
        expected.sort_by_key(|pin| pin.id);
        prop_assert_eq!(objects.pins().expect("pins"), expected);
    }
}

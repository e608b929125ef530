//! The content store as its callers see it: sizes, batches, ranges, domains.

use bytes::Bytes;

use super::testing::{manifest, noise, objects, pieces};
use super::*;
use crate::error::Error;
use crate::hash::content_id;
use crate::limits::CHUNK_BYTES;
use crate::store::testing as stores;

const VISIBLE: PutOptions = PutOptions {
    durability: Durability::Visible,
    pin: false,
};

/// Goal: any size goes in and comes out under its BLAKE3 id, by every way in and out. Method: sizes around every
/// border; put, stream in uneven pieces and reader must agree, and so must whole, batch and streamed gets.
#[test]
fn every_size_by_every_way() {
    let objects = objects();
    let mut sizes = vec![
        0,
        1,
        63,
        1024,
        4095,
        4096,
        4097,
        3 << 20,
        (4 << 20) - 1,
        4 << 20,
        (4 << 20) + 1,
        9_000_001,
    ];
    for border in [CHUNK_BYTES[0], CHUNK_BYTES[2], EXTENT_BYTES_MAX] {
        sizes.extend([border - 1, border, border + 1]);
    }
    let mut ids = Vec::new();
    for size in sizes {
        let content = Bytes::from(noise(size, size as u64));
        let put = objects.put(content.clone()).expect("put");
        assert_eq!(
            (put.id, put.length, put.new),
            (content_id(&content), size as u64, true),
            "{size}"
        );
        let read = objects.put_reader(&content[..], VISIBLE).expect("put_reader");
        assert_eq!(
            (read.id, read.length, read.new),
            (put.id, put.length, false),
            "{size}"
        );
        let mut writer = objects.put_stream(VISIBLE);
        for piece in content.chunks(99_991) {
            std::io::Write::write_all(&mut writer, piece).expect("write");
        }
        assert_eq!(writer.finish().expect("finish").id, put.id, "{size}");

        assert!(objects.exists(put.id).unwrap() && objects.content_exists(put.id, put.length).unwrap());
        assert_eq!(objects.length(put.id).expect("length"), put.length);
        assert_eq!(objects.get(put.id).expect("get"), content, "{size}");
        let mut out = Vec::new();
        let copied = objects
            .get_stream(put.id)
            .expect("stream")
            .copy_to(&mut out)
            .expect("copy");
        assert_eq!((copied, &out[..]), (put.length, &content[..]), "{size}");
        let mut reader = objects.get_stream(put.id).expect("stream");
        out.clear();
        std::io::Read::read_to_end(&mut reader, &mut out).expect("read");
        assert_eq!(out, content, "{size}");
        let kind = objects.kinds(&[put.id]).unwrap()[0];
        assert_eq!(
            kind,
            Some(if size <= EXTENT_BYTES_MAX {
                Kind::Data
            } else {
                Kind::Manifest
            }),
            "{size}"
        );
        ids.push((put.id, content));
    }
    let asked: Vec<ContentId> = ids.iter().map(|(id, _)| *id).collect();
    for (answer, (_, content)) in objects.get_batch(&asked).into_iter().zip(&ids) {
        assert_eq!(answer.expect("there"), *content);
    }
}

/// Goal: answers of a batch tell each content apart. Method: known, new, repeated and large ones in one batch, and
/// missing ones in a batched get.
#[test]
fn a_batch_answers_for_each() {
    let objects = objects();
    let known = Bytes::from_static(b"known");
    let new = Bytes::from_static(b"new");
    let large = Bytes::from(noise(2 << 20, 1));
    objects.put(known.clone()).expect("put");
    let batch = [
        new.clone(),
        large.clone(),
        known.clone(),
        new.clone(),
        Bytes::new(),
    ];
    let puts = objects.put_batch(&batch, PutOptions::default()).expect("batch");
    assert_eq!(
        puts.iter().map(|put| put.new).collect::<Vec<_>>(),
        [true, true, false, false, true]
    );
    for (put, content) in puts.iter().zip(&batch) {
        assert_eq!((put.id, put.length), (content_id(content), content.len() as u64));
    }
    let missing = content_id(b"missing");
    let answers = objects.get_batch(&[puts[1].id, missing, puts[0].id]);
    assert_eq!(answers[0].as_ref().expect("large"), &large);
    assert!(matches!(answers[1], Err(Error::NotFound { .. })));
    assert_eq!(answers[2].as_ref().expect("small"), &new);
    assert_eq!(objects.exist(&[missing, puts[1].id]).unwrap(), [false, true]);
    assert!(
        objects
            .put_batch::<Bytes>(&[], PutOptions::default())
            .expect("nothing")
            .is_empty()
    );
}

/// Goal: unique large contents are hashed and found on many threads as on one. Method: the same batch by both.
#[test]
fn threads_do_not_change_ids() {
    let objects = objects();
    let contents: Vec<Bytes> = (0..6)
        .map(|at| Bytes::from(noise(700_000 + at, at as u64)))
        .collect();
    for threads in [1, 2, 4] {
        let objects = Objects::clone(&objects)
            .with_threads(NonZero::new(threads).expect("not zero"))
            .blocking();
        let puts = objects.put_batch(&contents, VISIBLE).expect("batch");
        let large = objects
            .put_with([&contents[0][..], &contents[1][..]].concat(), VISIBLE)
            .expect("large");
        let expected: Vec<ContentId> = contents.iter().map(|content| content_id(content)).collect();
        assert_eq!(
            puts.iter().map(|put| put.id).collect::<Vec<_>>(),
            expected,
            "{threads}"
        );
        assert_eq!(
            large.id,
            content_id(&[&contents[0][..], &contents[1][..]].concat())
        );
    }
}

/// Goal: ranges are exact at every chunk border. Method: for each border of a content with a hole, ranges of one
/// and two bytes and across a whole chunk, and their streams; then the rules for bounds.
#[test]
fn ranges_at_every_chunk_border() {
    let objects = objects();
    let content = [noise(1_500_000, 5), vec![0; 300_000], noise(700_001, 6)].concat();
    let id = objects.put(content.clone()).expect("put").id;
    let length = content.len() as u64;
    let mut borders = vec![0];
    for piece in pieces(&objects, id) {
        borders.push(borders[borders.len() - 1] + piece.length());
    }
    assert!(borders.len() > 20 && borders[borders.len() - 1] == length);
    for (at, border) in borders.iter().enumerate() {
        let next = borders.get(at + 1).map_or(length, |next| next + 1);
        for range in [
            border.saturating_sub(1)..border + 1,
            *border..border + 1,
            border.saturating_sub(1)..next,
        ] {
            let end = range.end.min(length) as usize;
            let expected = &content[range.start as usize..end];
            assert_eq!(
                objects.get_range(id, range.clone()).expect("range"),
                expected,
                "{range:?}"
            );
            let mut out = Vec::new();
            let mut stream = objects.get_stream_range(id, range.clone()).expect("stream");
            assert_eq!(stream.length(), expected.len() as u64);
            stream.copy_to(&mut out).expect("copy");
            assert_eq!(out, expected, "{range:?}");
        }
    }
    let small = objects.put("0123456789").expect("put").id;
    assert_eq!(objects.get_range(small, 3..5).expect("range"), "34");
    for (id, length) in [(id, length), (small, 10)] {
        assert_eq!(objects.get_range(id, length..length).expect("empty"), "");
        assert_eq!(
            objects
                .get_range(id, length - 1..u64::MAX)
                .expect("clipped")
                .len(),
            1
        );
        #[allow(clippy::reversed_empty_ranges, reason = "the point of the test")]
        for range in [length + 1..length + 2, 5..4] {
            assert!(
                matches!(objects.get_range(id, range.clone()), Err(Error::Invalid { .. })),
                "{range:?}"
            );
            assert!(objects.get_stream_range(id, range).is_err());
        }
    }
}

/// Goal: an edit of a large content stores the edit, not the content again. Method: bytes of new extents.
#[test]
fn versions_share_chunks() {
    let objects = objects();
    let content = noise(8 << 20, 9);
    let edited = [&content[..1_000_000], b"edit", &content[1_000_000..]].concat();
    objects.put(content).expect("put");
    let before = objects.store().own().unwrap().stats().new_bytes;
    objects.put(edited).expect("put");
    let new = objects.store().own().unwrap().stats().new_bytes - before;
    assert!(
        new < 4 * CHUNK_BYTES[2] as u64,
        "{new} new bytes for 4 changed ones"
    );
}

/// Goal: domains do not see each other. Method: the same content in two.
#[test]
fn domains_are_apart() {
    let common = objects();
    let other = Objects::clone(&common).in_domain(Domain(7)).blocking();
    let id = common.put("shared").expect("put").id;
    assert!(!other.exists(id).unwrap());
    assert!(matches!(other.get(id), Err(Error::NotFound { .. })));
    assert!(
        other
            .put_with("shared", PutOptions { pin: true, ..VISIBLE })
            .expect("put")
            .new
    );
    assert_eq!(
        (
            common.pin_count(id).expect("count"),
            other.pin_count(id).expect("count")
        ),
        (0, 1)
    );
    assert_eq!(common.pins().expect("pins"), []);
    assert_eq!(other.pins().expect("pins"), [Pin { id, count: 1 }]);
}

/// Goal: of what the store has, nothing is kept in memory once more. Method: a content is put twice, the second time as bytes
/// of their own, of which the store has no reference afterwards; then both, borrowed.
#[test]
fn known_contents_are_not_held() {
    let objects = objects();
    let content = noise(4096, 77);
    let first = [Bytes::from(content.clone())];
    let put = objects.put_batch(&first, VISIBLE).expect("put").remove(0);
    let second = [Bytes::from(content)];
    let again = objects
        .put_batch(&second, PutOptions::default())
        .expect("put")
        .remove(0);
    assert_eq!((put.new, again.new, again.id), (true, false, put.id));
    assert!(second[0].is_unique(), "a known content was kept");
    let borrowed: Vec<&Bytes> = second.iter().chain(&first).collect();
    let both = objects.put_batch(&borrowed, VISIBLE).expect("put");
    assert!(both.iter().all(|put| !put.new && put.id == again.id));
}

/// Goal: visible means readable at once, durable means readable after the process ends. Method: read after a
/// visible put; then wait, abandon the store without closing it, and reopen.
#[test]
fn visible_at_once_and_durable_after_waiting() {
    let device = stores::device(256 << 20);
    let store = stores::create(&device, 2);
    let objects = Objects::new(store.clone()).blocking();
    let contents = [Bytes::from_static(b"small"), Bytes::from(noise(5 << 20, 2))];
    let puts = objects.put_batch(&contents, VISIBLE).expect("put");
    for (put, content) in puts.iter().zip(&contents) {
        assert_eq!(objects.get(put.id).expect("visible"), *content);
    }
    store.block_on(puts[0].durable()).expect("durable");
    assert!(!puts[0].lease().keys().is_empty());
    let ids: Vec<ContentId> = puts.iter().map(|put| put.id).collect();
    drop((objects, puts));
    stores::abandon(store);
    let objects = Objects::new(stores::open(&device, 1)).blocking();
    for (answer, content) in objects.get_batch(&ids).into_iter().zip(&contents) {
        assert_eq!(answer.expect("durable"), *content);
    }
}

/// Goal: a content too large for memory at once is refused by `get` and says so, but streams. Method: a hole of
/// more than the bound.
#[test]
fn get_refuses_what_belongs_in_a_stream() {
    let objects = objects();
    let mut writer = objects.put_stream(VISIBLE);
    writer.write_hole(crate::limits::GET_BYTES_MAX + 1).expect("hole");
    let put = writer.finish().expect("finish");
    assert_eq!(manifest(&objects, put.id).len(), 1);
    let error = objects.get(put.id).expect_err("too large");
    assert!(
        matches!(&error, Error::Invalid { reason, .. } if reason.contains("stream")),
        "{error}"
    );
    assert_eq!(objects.get_range(put.id, 5..10).expect("range"), &[0; 5][..]);
    let mut reader = objects.get_stream(put.id).expect("stream");
    assert_eq!(
        reader.next_section().expect("section"),
        Some(Section::Hole(put.length))
    );
    assert_eq!(reader.next_section().expect("verdict"), None);
}

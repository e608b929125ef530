//! Tests of streams: holes, bounded memory, many manifests, failures of the other side.

use std::io::{self, Read, Write};

use super::testing::{manifest, noise, objects, pieces};
use super::*;
use crate::error::Error;
use crate::format::manifest::Piece;
use crate::hash::{Hasher, content_id};
use crate::limits::HOLE_BYTES_MIN;

const VISIBLE: PutOptions = PutOptions {
    durability: Durability::Visible,
    pin: false,
};

/// Goal: told holes and written zeros are the same content, stored the same way. Method: contents of data and
/// zeros of many lengths and alignments, each by hole, by zeros and from memory; and from a reader into another store.
#[test]
fn holes_told_or_found_are_the_same() {
    let (objects, elsewhere) = (objects(), objects());
    let mut seed = 0;
    for before in [0, 5, 4096, 100_000, 5_000_000] {
        for hole in [
            1,
            4096,
            HOLE_BYTES_MIN,
            HOLE_BYTES_MIN + 1,
            70_000,
            1_048_577,
            9_000_000,
        ] {
            for after in [0, 3, 200_000] {
                seed += 1;
                let (head, tail) = (noise(before, seed), noise(after, seed + 1000));
                let content = [&head[..], &vec![0; hole], &tail].concat();
                let put = objects.put_with(content.clone(), VISIBLE).expect("put");
                let stored = (put.length > EXTENT_BYTES_MAX as u64).then(|| pieces(&objects, put.id));

                let mut writer = objects.put_stream(VISIBLE);
                writer.write_all(&head).expect("write");
                writer.write_hole(hole as u64 / 3).expect("hole");
                writer.write_hole(hole as u64 - hole as u64 / 3).expect("hole");
                writer.write_all(&tail).expect("write");
                let told = writer.finish().expect("finish");
                assert_eq!(
                    (told.id, told.length, told.new),
                    (put.id, put.length, false),
                    "{before} {hole} {after}"
                );
                assert_eq!(put.id, content_id(&content));
                let read = elsewhere.put_reader(&content[..], VISIBLE).expect("read");
                assert_eq!(
                    (read.id, read.length, read.new),
                    (put.id, put.length, true),
                    "{before} {hole} {after}"
                );
                if let Some(stored) = stored {
                    assert_eq!(pieces(&objects, told.id), stored, "{before} {hole} {after}");
                    assert_eq!(pieces(&elsewhere, read.id), stored, "{before} {hole} {after}");
                    let holes: u64 = stored
                        .iter()
                        .filter(|piece| matches!(piece, Piece::Hole { .. }))
                        .map(Piece::length)
                        .sum();
                    assert!(
                        holes + 8192 >= hole as u64 || hole < HOLE_BYTES_MIN + 8192,
                        "{holes} of {hole}"
                    );
                }
            }
        }
    }
}

/// Goal: zeros are not stored. Method: bytes of new extents for 200 MB of zeros around a little data.
#[test]
fn holes_take_no_space() {
    let objects = objects();
    let mut writer = objects.put_stream(VISIBLE);
    writer.write_hole(100_000_000).expect("hole");
    writer.write_all(b"needle").expect("write");
    writer.write_hole(100_000_000).expect("hole");
    let put = writer.finish().expect("finish");
    assert!(
        objects.store().own().unwrap().stats().new_bytes < 10_000,
        "{}",
        objects.store().own().unwrap().stats().new_bytes
    );
    let mut expected = Hasher::new();
    expected
        .update_zeroes(100_000_000)
        .update(b"needle")
        .update_zeroes(100_000_000);
    assert_eq!(put.id, expected.finish());
    assert_eq!(
        objects.get_range(put.id, 99_999_999..100_000_007).expect("range"),
        "\0needle\0"
    );
}

/// Goal: memory does not grow with the content, in or out. Method: 100 MB of noise through both streams; what they
/// keep is asked after every write and read.
#[test]
fn a_large_content_streams_in_bounded_memory() {
    let objects = objects();
    let mut stream = Objects::put_stream(&objects, VISIBLE);
    let store = objects.store().clone();
    let mut expected = Hasher::new();
    let mut most = 0;
    for at in 0..1000 {
        let piece = noise(100_000, at);
        expected.update(&piece);
        store.block_on(stream.write(&piece)).expect("write");
        most = most.max(stream.buffered());
    }
    assert!(most <= 9 << 20, "{most} bytes buffered");
    let put = store.block_on(stream.finish()).expect("finish");
    assert_eq!((put.id, put.length), (expected.finish(), 100_000_000));

    let mut stream = store
        .block_on(Objects::get_stream(&objects, put.id))
        .expect("stream");
    let mut read = 0;
    let mut window = 0;
    while let Some(section) = store.block_on(stream.next()).expect("section") {
        read += section.length();
        window = window.max(stream.buffered());
    }
    assert_eq!(read, put.length);
    assert!(window <= 5 << 20, "{window} bytes buffered");
}

/// Goal: contents of more chunks than one manifest holds work, and their lease stays small. Method: 17,000 pairs of a
/// block and a hole make a manifest of two levels; check the id, ranges, the whole, and a second put.
#[test]
fn a_content_of_many_manifests() {
    let objects = objects();
    let blocks: Vec<Vec<u8>> = (0..64).map(|seed| noise(4096, seed)).collect();
    let order = |at: usize| &blocks[at * at % 64];
    let pairs = 17_000;
    let put_all = || {
        let mut writer = objects.put_stream(VISIBLE);
        for at in 0..pairs {
            writer.write_all(order(at)).expect("write");
            writer.write_hole(HOLE_BYTES_MIN as u64).expect("hole");
        }
        writer.finish().expect("finish")
    };
    let put = put_all();
    assert!(put.new);
    let root = manifest(&objects, put.id);
    assert_eq!((root.level(), root.length()), (1, pairs as u64 * (4096 + 65_536)));
    assert!(
        put.lease().keys().len() < 20_000,
        "{} keys held",
        put.lease().keys().len()
    );
    let held = put.lease().keys();
    for piece in root.pieces() {
        let (kind, id) = piece.target().expect("a part");
        assert!(
            held.contains(&objects.key_of(kind, id)),
            "the lease of the last batch holds every part"
        );
    }
    for at in [0, 1, 8000, 8192, 16_383, pairs - 1] {
        let start = at as u64 * (4096 + 65_536);
        let expected = [&order(at)[4000..], &[0; 10]].concat();
        assert_eq!(
            objects
                .get_range(put.id, start + 4000..start + 4106)
                .expect("range"),
            expected,
            "pair {at}"
        );
    }
    let mut reader = objects.get_stream(put.id).expect("stream");
    let mut length = 0;
    while let Some(section) = reader.next_section().expect("verified") {
        length += section.length();
    }
    assert_eq!(length, put.length);
    let again = put_all();
    assert_eq!((again.id, again.new), (put.id, false));
}

struct Fails(usize);

impl Read for Fails {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::Error::other("cable pulled"));
        }
        let step = self.0.min(out.len());
        self.0 -= step;
        out[..step].fill(7);
        Ok(step)
    }
}

impl Write for Fails {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len())
            .ok_or_else(|| io::Error::other("disk full"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Goal: windows are filled with the right bytes while others are put, also in memory that was used before. Method:
/// contents of ten windows, and of two and no byte more, from a reader that gives odd pieces, with one thread and with
/// several, read back.
#[test]
fn readers_are_read_while_windows_are_put() {
    struct Odd<'a>(&'a [u8]);
    impl Read for Odd<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let bytes = (self.0.len() % 70_001 + 1).min(out.len()).min(self.0.len());
            let (now, later) = self.0.split_at(bytes);
            out[..bytes].copy_from_slice(now);
            self.0 = later;
            Ok(bytes)
        }
    }
    for threads in [1, 2, 3] {
        for bytes in [41_000_003, 8 << 20] {
            let objects = Objects::clone(&objects())
                .with_threads(NonZero::new(threads).expect("not zero"))
                .blocking();
            let content = noise(bytes, threads as u64);
            let put = objects.put_reader(Odd(&content), VISIBLE).expect("put");
            assert_eq!(
                (put.id, put.length, put.new),
                (content_id(&content), content.len() as u64, true)
            );
            assert!(objects.get(put.id).expect("get") == content, "{threads} {bytes}");
        }
    }
}

/// Goal: failures of the caller's reader or writer are told, and nothing half-read becomes a content. Method: both
/// fail at once and after several windows.
#[test]
fn failures_of_the_other_side() {
    let objects = objects();
    for bytes in [0, 10_000_000] {
        let error = objects
            .put_reader(Fails(bytes), PutOptions::default())
            .expect_err("reader");
        assert!(
            matches!(&error, Error::Stream { .. }) && error.to_string().contains("cable pulled"),
            "{error}"
        );
        assert!(
            !objects
                .content_exists(content_id(&vec![7; bytes]), bytes as u64)
                .unwrap()
        );
    }
    let id = objects.put(noise(3 << 20, 1)).expect("put").id;
    let error = objects
        .get_stream(id)
        .expect("stream")
        .copy_to(&mut Fails(1_000_000))
        .expect_err("writer");
    assert!(error.to_string().contains("disk full"), "{error}");
}

/// Goal: a stream that is not finished stores no content. Method: drop one after several windows.
#[test]
fn an_unfinished_stream_is_no_content() {
    let objects = objects();
    let content = noise(10_000_000, 8);
    let mut writer = objects.put_stream(VISIBLE);
    writer.write_all(&content).expect("write");
    drop(writer);
    assert!(!objects.exists(content_id(&content)).unwrap());
}

/// Goal: contents beyond the bound are refused, and the stream stays refused. Method: a hole that is too long.
#[test]
fn too_long_is_refused() {
    let objects = objects();
    let mut writer = objects.put_stream(VISIBLE);
    let error = writer.write_hole(u64::MAX).expect_err("too long");
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
    assert!(writer.write_all(b"more").is_err());
    assert!(writer.finish().is_err());
}

/// Goal: reading and section by section can be mixed. Method: read a few bytes of a section, then take the rest.
#[test]
fn reading_and_sections_mix() {
    let objects = objects();
    let content = [noise(1_200_000, 3), vec![0; 200_000], noise(5000, 4)].concat();
    let id = objects.put(content.clone()).expect("put").id;
    let mut reader = objects.get_stream(id).expect("stream");
    let mut read = vec![0; 1000];
    reader.read_exact(&mut read).expect("read");
    let section = reader
        .next_section()
        .expect("section")
        .expect("rest of the chunk");
    let Section::Data(bytes) = section else {
        panic!("data comes first")
    };
    read.extend_from_slice(&bytes);
    reader.copy_to(&mut read).expect("copy");
    assert_eq!(read, content);
}

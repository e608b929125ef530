//! The whole engine over an image that something has gone over: recovery, reads, audit, collection, scrub.
//!
//! The image is that of a small store made on a simulated device, in virtual time, without threads: contents of every
//! kind, two branches, a tag, a pin; once closed properly and once left in the middle of its work. The input says what
//! is done to it, as a list of changes of units that hold something.
//! Every call ends with a value or an error: a panic, a deadlock (the driver panics) or a hang (the fuzzer's time
//! limit) is a finding.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use zerocopy::little_endian::U32;
use zerocopy::{FromBytes, IntoBytes};

use super::seeds::content;
use crate::device::sim::{Image, SimDevice};
use crate::error::Result;
use crate::format::checkpoint::{PART_MAGIC, PartHeader};
use crate::format::checksum::{Secret, crc32c, seeded};
use crate::format::segment::{HEADER_MAGIC, SegmentHeader, TRAILER_MAGIC, Trailer};
use crate::format::superblock::Superblock;
use crate::format::{Domain, SegmentId, frame, superblock};
use crate::limits::{SEGMENT_BYTES, UNIT_BYTES};
use crate::objects::{Durability, Objects};
use crate::reactor::{Config, Runtime};
use crate::store::{CreateOptions, OpenOptions, RootKind, Store};
use crate::trees::{Ancestors, TreeTrace, Trees, WorkingOptions};

const BYTES: u64 = 48 << 20;
const SEED: u64 = 5;
/// Entries of a tree, and commits of a history, that are looked at.
const WALK_MAX: usize = 200;

/// A store as it lies on its device.
pub(super) struct Base {
    image: Image,
    units: Vec<u64>,
    secret: Secret,
}

impl Base {
    pub(super) fn image(&self) -> &Image {
        &self.image
    }
}

fn runtime(device: &Arc<SimDevice>) -> Result<Runtime> {
    let config = Config {
        reactors: 1,
        pin: false,
        seed: SEED,
        ..Config::default()
    };
    Runtime::driver(device.clone(), &config)
}

fn options() -> OpenOptions {
    OpenOptions {
        cache_bytes: 0,
        zero_ahead: false,
        ..OpenOptions::default()
    }
}

/// Fills the store a second opening finds; closes it or not.
fn make(close: bool) -> Result<Base> {
    let device = SimDevice::new(SEED, BYTES);
    let maker = runtime(&device)?;
    let create = CreateOptions {
        seed: Some(SEED),
        ..CreateOptions::default()
    };
    Store::create_on(&maker, "sim", &create)?;
    let store = Store::open_on(&maker, "sim", &options())?;
    fill(&store, "main", 0)?;
    store.close()?;
    let store = Store::open_on(&runtime(&device)?, "sim", &options())?;
    fill(&store, "other", 100)?;
    if close {
        store.close()?;
    } else {
        let runtime = store.runtime().clone();
        drop(store);
        runtime.shutdown();
    }
    let image = device.image();
    let block = Superblock::decode(&image.peek(0, UNIT_BYTES), 0).expect("the store was made a moment ago");
    Ok(Base {
        units: image.units().collect(),
        secret: block.secret(),
        image,
    })
}

fn fill(store: &Store, branch: &str, number: u64) -> Result<()> {
    let objects = Objects::new(store.clone()).with_threads(std::num::NonZero::<usize>::MIN);
    let trees = Trees::new(store.clone(), Domain(0));
    store.block_on(async {
        let small = objects.put(content(number, 5000)).await?;
        objects.put(content(number + 1, 1_200_000)).await?;
        objects.pin(small.id, Durability::Durable).await?;
        let mut tree = trees.open_new(branch, WorkingOptions::default())?;
        for directory in 0..3 {
            tree.create_directory(format!("directory {directory}")).await?;
        }
        for file in 0..40 {
            let path = format!("directory {}/file {file}", file % 3);
            tree.write(
                path,
                content(number + 2 + file, 40 * usize::try_from(file).unwrap_or(0)),
            )
            .await?;
        }
        tree.commit("first").await?;
        tree.write("directory 1/file 1", Bytes::from_static(b"changed"))
            .await?;
        tree.commit("second").await?;
        store.flush().await
    })
}

pub(super) fn base(closed: bool) -> &'static Base {
    static BASES: [OnceLock<Base>; 2] = [OnceLock::new(), OnceLock::new()];
    BASES[usize::from(closed)].get_or_init(|| make(closed).expect("a store on a device without faults"))
}

/// Recovery over a damaged image, and everything that reads what it found: values and errors only.
pub fn open_image(bytes: &[u8]) {
    let mut changes = Changes(bytes);
    let base = base(changes.byte() % 2 == 0);
    let mut image = base.image.clone();
    while !changes.0.is_empty() {
        change(base, &mut image, &mut changes);
    }
    let device = SimDevice::from_image(SEED, image);
    let Ok(runtime) = runtime(&device) else {
        return;
    };
    match Store::open_on(&runtime, "sim", &options()) {
        Ok(store) => {
            store.block_on(look(&store));
            // What cannot be written is said, not survived.
            let _ = store.close();
        }
        Err(_) => runtime.shutdown(),
    }
}

/// Reads and looks after everything there is; errors are answers.
async fn look(store: &Store) {
    let _ = store.health();
    let trees = Trees::new(store.clone(), Domain(0));
    let objects = Objects::new(store.clone()).with_threads(std::num::NonZero::<usize>::MIN);
    for kind in [RootKind::Branch, RootKind::Tag, RootKind::Pin] {
        let _ = store.roots(kind);
    }
    for pin in objects.pins().unwrap_or_default() {
        let _ = objects.get_batch(&[pin.id]).await;
    }
    for branch in trees.branches().unwrap_or_default() {
        let mut log = trees.log(branch.commit, Ancestors::First, 0);
        for _ in 0..WALK_MAX {
            let Ok(Some(logged)) = log.next().await else { break };
            let Ok(root) = trees.entry_at(logged.id, &crate::trees::TreePath::root()).await else {
                continue;
            };
            let Ok(mut walk) = trees.walk(&root) else { continue };
            for _ in 0..WALK_MAX {
                let Ok(Some(_)) = walk.next().await else { break };
            }
        }
    }
    let _ = store.audit().await;
    for segment in 0..store.segment_count() {
        let _ = store.scrub_segment(SegmentId(segment), |_| true).await;
    }
    let _ = store.collect(Arc::new(TreeTrace), false).await;
    let _ = objects.put(content(1000, 3000)).await;
    let _ = store.flush().await;
    let _ = store.checkpoint().await;
    let _ = store.audit().await;
}

/// What is left of the input.
struct Changes<'a>(&'a [u8]);

impl Changes<'_> {
    fn byte(&mut self) -> u8 {
        let (byte, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *byte
    }

    fn number(&mut self) -> usize {
        usize::from(u16::from_le_bytes([self.byte(), self.byte()]))
    }

    fn bytes(&mut self, len: usize) -> &[u8] {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// One of the units that hold something.
    fn unit(&mut self, base: &Base) -> u64 {
        base.units[self.number() % base.units.len()]
    }
}

fn change(base: &Base, image: &mut Image, changes: &mut Changes<'_>) {
    let what = changes.byte();
    let unit = changes.unit(base);
    match what % 5 {
        0 | 1 => {
            let within = changes.number() % UNIT_BYTES;
            let len = usize::from(changes.byte() % 32).min(UNIT_BYTES - within);
            image.poke(unit * UNIT_BYTES as u64 + within as u64, changes.bytes(len));
            if what % 5 == 1 {
                seal(image, unit, &base.secret);
            }
        }
        2 => {
            let other = changes.unit(base);
            let [a, b] = [unit, other].map(|unit| image.peek(unit * UNIT_BYTES as u64, UNIT_BYTES));
            image.poke(unit * UNIT_BYTES as u64, &b);
            image.poke(other * UNIT_BYTES as u64, &a);
        }
        3 => {
            let other = changes.unit(base);
            let copy = image.peek(other * UNIT_BYTES as u64, UNIT_BYTES);
            image.poke(unit * UNIT_BYTES as u64, &copy);
        }
        _ => {
            let first = unit * UNIT_BYTES as u64;
            let len = (u64::from(changes.byte()) + 1) * UNIT_BYTES as u64;
            let len = len.min(image.capacity() - first);
            image.poke(first, &vec![0; usize::try_from(len).unwrap_or(UNIT_BYTES)]);
        }
    }
}

/// Units before a changed one in which the part of a checkpoint that it belongs to may begin.
const PART_UNITS: u64 = 16;

/// Makes the checksums of what starts in a unit right again, or of the part of a checkpoint it belongs to.
fn seal(image: &mut Image, unit: u64, secret: &Secret) {
    let offset = unit * UNIT_BYTES as u64;
    let mut bytes = image.peek(offset, UNIT_BYTES);
    let (sealed_len, checksum) = match () {
        () if bytes[4..12] == superblock::MAGIC => (UNIT_BYTES, crc32c(&bytes[4..])),
        () if bytes[4..8] == HEADER_MAGIC => {
            let len = size_of::<SegmentHeader>();
            (len, seeded(secret, &[&bytes[4..len]]))
        }
        () => match frame::head_bytes_hint(&bytes) {
            Some(len) if len <= UNIT_BYTES => (len, seeded(secret, &[&bytes[4..len]])),
            _ => {
                let start = UNIT_BYTES - size_of::<Trailer>();
                if bytes[start + 4..start + 8] == TRAILER_MAGIC {
                    let checksum = seeded(secret, &[&bytes[start + 4..]]);
                    image.poke(offset + start as u64, &checksum.to_le_bytes());
                    return;
                }
                let mut before = (unit.saturating_sub(PART_UNITS)..=unit).rev();
                if let Some(part) = before.find(|part| is_part(image, *part)) {
                    seal_part(image, part, secret);
                }
                return;
            }
        },
    };
    bytes[..4].copy_from_slice(&checksum.to_le_bytes());
    image.poke(offset, &bytes[..sealed_len]);
}

fn is_part(image: &Image, unit: u64) -> bool {
    image.peek(unit * UNIT_BYTES as u64 + 4, PART_MAGIC.len()) == PART_MAGIC
}

/// Makes the checksums of a checkpoint of one part right again, as far as its length lies within the device.
fn seal_part(image: &mut Image, unit: u64, secret: &Secret) {
    let offset = unit * UNIT_BYTES as u64;
    let bytes = image.peek(offset, size_of::<PartHeader>());
    let Ok(mut header) = PartHeader::read_from_bytes(&bytes) else {
        return;
    };
    let body = offset + bytes.len() as u64;
    let len = header
        .part_bytes
        .get()
        .min(image.capacity() - body)
        .min(SEGMENT_BYTES[0]);
    let checksum = crc32c(&image.peek(body, usize::try_from(len).unwrap_or(0)));
    header.part_checksum = U32::new(checksum);
    header.body_checksum = U32::new(checksum);
    header.checksum = U32::new(seeded(secret, &[&header.as_bytes()[4..]]));
    image.poke(offset, header.as_bytes());
}

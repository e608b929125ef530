//! Reads and writes the two superblocks.
//!
//! Copy 0 is written and durable before copy 1 is touched, so one whole copy exists at any moment.

use crate::device::Ends;
use crate::error::{Error, Result};
use crate::format::superblock::{
    INCOMPATIBLE_KNOWN, READ_ONLY_COMPATIBLE_KNOWN, Superblock, SuperblockError, VERSION,
};
use crate::limits::UNIT_BYTES;
use crate::reactor::Local;

/// Reads one unit.
async fn read_unit(local: &Local, name: &str, offset: u64) -> Result<Box<[u8]>> {
    Ok(read(local, name, offset, UNIT_BYTES).await?[..UNIT_BYTES].into())
}

/// Reads one copy of the superblock, as it is.
pub(super) async fn read_copy(local: &Local, name: &str, block: &Superblock, copy: u16) -> Result<Box<[u8]>> {
    let offset = match copy {
        0 => 0,
        _ => Superblock::second_offset(block.capacity_units.get()),
    };
    read_unit(local, name, offset).await
}

/// Reads whole units; the error names the place.
pub(super) async fn read(
    local: &Local,
    name: &str,
    offset: u64,
    len: usize,
) -> Result<crate::device::DmaBuffer> {
    let failed = |source| Error::Device {
        device: name.to_owned(),
        operation: "read",
        offset,
        source,
    };
    let len = len.next_multiple_of(UNIT_BYTES);
    let buffer = local.buffer(len)?;
    let (buffer, result) = local.read(offset, buffer, 0..len).await;
    result.map_err(failed)?;
    Ok(buffer)
}

/// Guarantees space for later writes to a range; where nothing can be reserved, by writing zeroes to it.
pub(super) async fn claim_space(local: &Local, offset: u64, len: u64) -> std::io::Result<()> {
    match local.allocate(offset, len).await {
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {
            local.write_zeroes(offset, len).await
        }
        done => done,
    }
}

/// The error of a write of `len` bytes that the device refused: a disk without space says what is to be done.
pub(super) fn refused(name: &str, offset: u64, len: u64, source: std::io::Error) -> Error {
    let device = name.to_owned();
    match source.kind() {
        std::io::ErrorKind::StorageFull => Error::DiskFull {
            device,
            needed: len,
            free: 0,
        },
        _ => Error::Device {
            device,
            operation: "write",
            offset,
            source,
        },
    }
}

/// Whether the device holds anything that looks like a store, and whether it holds anything at all.
pub(super) async fn probe(local: &Local, name: &str) -> Result<(bool, bool)> {
    let capacity = local.device().geometry().capacity;
    if capacity < UNIT_BYTES as u64 {
        return Ok((false, false));
    }
    let first = read_unit(local, name, 0).await?;
    let last = read_unit(
        local,
        name,
        capacity / UNIT_BYTES as u64 * UNIT_BYTES as u64 - UNIT_BYTES as u64,
    )
    .await?;
    let ends = Ends::of(&first, &last);
    Ok((ends.store, ends.data))
}

/// The newest valid superblock, with its features checked.
pub(super) async fn load(local: &Local, name: &str) -> Result<Superblock> {
    let refuse = |reason: String| Error::NotAStore {
        store: name.to_owned(),
        reason,
    };
    let capacity = local.device().geometry().capacity;
    let units = capacity / UNIT_BYTES as u64;
    if units == 0 {
        return Err(refuse("it is empty; create a store with `helios init`".into()));
    }
    let first = Superblock::decode(&read_unit(local, name, 0).await?, 0);
    if let Ok(block) = &first
        && block.capacity_units.get() > units
    {
        let reason = format!(
            "it was made {} bytes long and is now {capacity}: the end is missing; restore the whole image",
            block.capacity_units.get() * UNIT_BYTES as u64,
        );
        return Err(refuse(reason));
    }
    let end = first.as_ref().map_or(units, |block| block.capacity_units.get());
    let last = Superblock::decode(&read_unit(local, name, Superblock::second_offset(end)).await?, 1);
    let block = match (first, last) {
        (Ok(first), Ok(last)) if last.store == first.store => {
            if last.sequence > first.sequence {
                last
            } else {
                first
            }
        }
        (Ok(block), _) | (Err(_), Ok(block)) => block,
        (Err(SuperblockError::Version(version)), _) | (_, Err(SuperblockError::Version(version))) => {
            return Err(refuse(match version {
                0 => "format version 0, which was made before the format was fixed; read it with the helios that wrote \
                      it, and commit what it holds to a new store"
                    .to_owned(),
                _ => format!("format version {version}; this program knows {VERSION}; use a newer one"),
            }));
        }
        (Err(SuperblockError::Foreign), Err(SuperblockError::Foreign)) => {
            return Err(refuse(
                "it holds other data; give the right address, or make a store with `helios init`".into(),
            ));
        }
        (Err(first), Err(last)) => {
            return Err(refuse(format!(
                "both superblocks are unusable (first: {first}; last: {last}); restore a copy"
            )));
        }
    };
    let unknown = block.incompatible.get() & !INCOMPATIBLE_KNOWN;
    if unknown != 0 {
        return Err(Error::Unsupported {
            store: name.to_owned(),
            bits: unknown,
        });
    }
    Ok(block)
}

/// Whether unknown features forbid writing.
pub(super) fn is_read_only(block: &Superblock) -> bool {
    block.read_only_compatible.get() & !READ_ONLY_COMPATIBLE_KNOWN != 0
}

/// Makes `block` the truth: both copies, one after the other, durable. The caller has raised `sequence`.
pub(super) async fn store(local: &Local, name: &str, block: &Superblock) -> Result<()> {
    for (copy, offset) in [(0, 0), (1, Superblock::second_offset(block.capacity_units.get()))] {
        let failed = |source| Error::Device {
            device: name.to_owned(),
            operation: "write",
            offset,
            source,
        };
        let mut buffer = local.buffer(UNIT_BYTES)?;
        buffer[..UNIT_BYTES].copy_from_slice(&block.encode(copy));
        let (_, result) = local.write(offset, buffer, 0..UNIT_BYTES, true).await;
        result.map_err(failed)?;
    }
    Ok(())
}

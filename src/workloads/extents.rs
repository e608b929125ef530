//! Contents of one extent each.

use std::ops::Range;

use bytes::Bytes;
use helios_engine::format::{Domain, Kind};
use helios_engine::hash;
use helios_engine::store::{Extent, Key, Store};

use super::content::content;

/// Contents hashed and put together.
const AT_ONCE: u64 = 64;

/// Puts the contents of these numbers and this length; visible, not flushed.
///
/// # Errors
/// Those of the store.
pub async fn put(store: &Store, numbers: Range<u64>, len: usize) -> helios_engine::Result<Vec<Key>> {
    let mut keys = Vec::new();
    for first in numbers.clone().step_by(AT_ONCE as usize) {
        let contents: Vec<Bytes> = (first..numbers.end.min(first + AT_ONCE))
            .map(|number| Bytes::from(content(number, len)))
            .collect();
        let ids = hash::content_ids(&contents.iter().map(|bytes| &bytes[..]).collect::<Vec<_>>());
        let extents: Vec<Extent> = ids
            .into_iter()
            .zip(contents)
            .map(|(id, bytes)| Extent {
                key: Key {
                    domain: Domain(0),
                    kind: Kind::Data,
                    id,
                },
                bytes,
            })
            .collect();
        keys.extend(extents.iter().map(|extent| extent.key));
        let mut batch = store.batch();
        batch.put(extents).await?;
        batch.submit().await?;
    }
    Ok(keys)
}

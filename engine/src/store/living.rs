//! What lives in a segment: the extents on the device that the index refers to there.

use super::Store;
use super::api::Key;
use super::checkpoint;
use super::footers;
use super::index::IndexKey;
use super::segments::{SegmentState, SegmentUse};
use super::usage::Place;
use crate::error::Result;
use crate::format::{Kind, SegmentId};
use crate::reactor::Local;

/// What lives in one segment.
pub(super) struct Living {
    /// Which one.
    pub at: SegmentUse,
    /// In the order of the device.
    pub extents: Vec<(Key, IndexKey, Place)>,
    /// The footer cannot be read: the segment was read frame by frame.
    pub footer_damaged: bool,
}

/// What lives in a segment that holds extents; `None` for any other. Part of a maintenance job.
pub(super) async fn living(local: &Local, store: &Store, segment: SegmentId) -> Result<Option<Living>> {
    let shared = store.shared();
    let listed = shared.segments.lock().in_use(segment);
    let Some((at, state, _)) = listed else {
        return Ok(None);
    };
    let superblock = store.0.superblock.lock().clone();
    let (descriptors, footer_damaged) = match state {
        SegmentState::Sealed {
            end_unit,
            footer_unit,
            ..
        } => {
            let units = (footer_unit, end_unit);
            footers::descriptors(local, &shared.name, &superblock, at, units).await?
        }
        SegmentState::Open(_) => {
            let ends = checkpoint::cut_all(store).await?;
            let open = ends.into_iter().filter_map(|end| end.current);
            let found = open
                .filter(|open| open.at == at)
                .map(|open| open.descriptors)
                .next();
            (found.unwrap_or_default(), false)
        }
        _ => return Ok(None),
    };
    let found: Vec<(Key, Place)> = descriptors
        .iter()
        .filter_map(|descriptor| {
            let kind = descriptor.kind().filter(|kind| *kind != Kind::Root)?;
            let key = Key {
                domain: descriptor.domain(),
                kind,
                id: descriptor.id,
            };
            let place = Place {
                segment,
                offset: descriptor.offset.get(),
                len: descriptor.stored_len.get(),
            };
            Some((key, place))
        })
        .collect();
    let keys = shared.index_keys(found.iter().map(|(key, _)| key));
    let mut slots = Vec::with_capacity(keys.len());
    shared.index.get_many(&keys, &mut slots);
    let extents = found
        .into_iter()
        .zip(keys)
        .zip(slots)
        .filter(|(((_, place), _), slot)| *slot == Some(place.slot()))
        .map(|(((key, place), index_key), _)| (key, index_key, place))
        .collect();
    Ok(Some(Living {
        at,
        extents,
        footer_damaged,
    }))
}

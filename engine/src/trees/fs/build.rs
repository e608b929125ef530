//! From a listing to nodes of a tree, and to the cache that the next scan starts from.

use bytes::Bytes;

use super::control::{Control, Phase};
use super::listing::{Item, Listing};
use super::parallel;
use super::scan::entry_of;
use super::stat_cache::{Form, StatCache, Writer};
use super::stat_record::Record;
use crate::access::{Access, Batch};
use crate::error::Result;
use crate::format::{ContentId, Domain, Kind};
use crate::store::Key;
use crate::trees::{EntryKind, PendingDirectory, build_many};
/// Directories with nothing changed in or below them are the nodes that they were.
pub(super) fn keep_clean_nodes(listing: &mut Listing) {
    let mut nodes: Vec<(usize, ContentId)> = Vec::new();
    let subdirectories = listing.directories.iter().flat_map(|directory| &directory.items);
    for item in subdirectories
        .filter(|item| item.kind == EntryKind::Directory)
        .chain(&listing.root)
    {
        if !listing.directories[item.child].dirty {
            nodes.push((item.child, item.id));
        }
    }
    for (index, node) in nodes {
        listing.directories[index].node = Some(node);
    }
}

/// Holds the topmost of these nodes (below a node that the store has, it has everything); a directory whose node it
/// lacks is built again.
pub(super) fn hold_nodes(listing: &mut Listing, domain: Domain, batch: &mut Batch) -> Result<()> {
    let mut level: Vec<usize> = vec![0];
    while !level.is_empty() {
        let clean: Vec<(usize, ContentId)> = level
            .iter()
            .filter_map(|&index| listing.directories[index].node.map(|node| (index, node)))
            .collect();
        let keys: Vec<Key> = clean
            .iter()
            .map(|&(_, id)| Key {
                domain,
                kind: Kind::Node,
                id,
            })
            .collect();
        let held = batch.hold(&keys)?;
        for ((index, _), held) in clean.into_iter().zip(held) {
            if !held {
                listing.directories[index].node = None;
            }
        }
        level = level
            .into_iter()
            .filter(|&index| listing.directories[index].node.is_none())
            .flat_map(|index| &listing.directories[index].items)
            .filter(|item| item.kind == EntryKind::Directory)
            .map(|item| item.child)
            .collect();
    }
    Ok(())
}

/// Builds all directories without a node, the deepest level first; how many there were.
pub(super) fn build(
    store: &Access,
    listing: &mut Listing,
    form: Form,
    batch: &mut Batch,
    control: &Control,
) -> Result<u64> {
    /// Directories and names built as one piece of work: bounds memory, and fills the hash function's lanes.
    const CHUNK_DIRECTORIES: usize = 512;
    const CHUNK_NAMES: usize = 8192;
    let mut levels: Vec<Vec<usize>> = Vec::new();
    for (index, directory) in listing.directories.iter().enumerate() {
        if directory.node.is_none() {
            let depth = directory.depth as usize;
            if levels.len() <= depth {
                levels.resize_with(depth + 1, Vec::new);
            }
            levels[depth].push(index);
        }
    }
    let total = levels.iter().map(Vec::len).sum::<usize>() as u64;
    let counter = control.phase(Phase::Build, total, 0);
    let batch = parking_lot::Mutex::new(batch);
    for level in levels.into_iter().rev() {
        let mut chunks: Vec<Vec<usize>> = vec![Vec::new()];
        let mut names = 0;
        for index in level {
            if chunks
                .last()
                .is_some_and(|chunk| chunk.len() == CHUNK_DIRECTORIES)
                || names > CHUNK_NAMES
            {
                chunks.push(Vec::new());
                names = 0;
            }
            names += listing.directories[index].items.len();
            chunks.last_mut().into_iter().for_each(|chunk| chunk.push(index));
        }
        let chunk_control = Control {
            threads: control.threads.min(chunks.len()),
            ..control.clone()
        };
        let built = {
            let listing = &*listing;
            parallel::run(
                &chunk_control,
                chunks,
                Vec::new,
                |built: &mut Vec<(usize, ContentId)>, chunk, _| {
                    let pending: Vec<PendingDirectory> = chunk
                        .iter()
                        .map(|&index| PendingDirectory {
                            entries: (0..listing.directories[index].items.len())
                                .map(|item| entry_of(listing, form, index, item))
                                .collect(),
                        })
                        .collect();
                    let mut extents = Vec::new();
                    let ids = build_many(form.domain, pending, &mut extents)?;
                    store.block_on(batch.lock().put(extents))?;
                    counter.add(chunk.len() as u64, 0);
                    built.extend(chunk.into_iter().zip(ids));
                    Ok(())
                },
            )?
        };
        for (index, node) in built.into_iter().flatten() {
            listing.directories[index].node = Some(node);
        }
    }
    Ok(total)
}

/// Writes the cache for the next scan: what has not changed is copied from the old one.
pub(super) fn encode_cache(listing: &Listing, form: Form, old: Option<&StatCache>) -> Bytes {
    let Some(root) = &listing.root else {
        return Bytes::new();
    };
    let mut writer = Writer::new(form, root.stat.id.device, &record_of(listing, root));
    // Depth first, names in order; a stack of our own, because depth has no limit.
    let mut open: Vec<usize> = vec![0];
    while let Some(index) = open.pop() {
        let directory = &listing.directories[index];
        if let (Some(old), Some(section), false) = (old, directory.section, directory.dirty) {
            writer.copy(old.raw_subtree(section));
            continue;
        }
        let mut section = writer.section();
        let first = open.len();
        for item in &directory.items {
            section.put(directory.name_bytes(item), &record_of(listing, item));
            if item.kind == EntryKind::Directory {
                open.push(item.child);
            }
        }
        open[first..].reverse();
        writer.append(&section);
    }
    writer.finish()
}

fn record_of(listing: &Listing, item: &Item) -> Record {
    Record {
        kind: item.kind,
        racy: item.racy,
        mode: item.stat.mode,
        uid: item.stat.uid,
        gid: item.stat.gid,
        size: match item.kind {
            EntryKind::Directory => 0,
            _ => item.stat.size,
        },
        mtime: item.stat.mtime,
        ctime: item.stat.ctime,
        file: item.stat.id,
        device: item.stat.device,
        id: match item.kind {
            EntryKind::Directory => listing.directories[item.child].node.unwrap_or(item.id),
            _ => item.id,
        },
        xattrs: item.xattrs.clone(),
        link_group: item.link_group,
    }
}

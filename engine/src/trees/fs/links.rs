//! Hard links: which names of a listing are one file.
//!
//! A group is named by a hash of the first path (in byte order) of its members, so the same tree always gives the same
//! numbers and a new group elsewhere changes no other directory. Two groups with the same hash are told apart by
//! taking the next free number, in the order of their paths. Names whose other links lie outside the tree are
//! ordinary files. Rejected: counting groups; the first new link would rename all groups behind it.

use std::collections::{HashMap, HashSet};

use super::listing::Listing;
use super::platform::FileId;
use crate::hash;
use crate::trees::EntryKind;

/// Place of an item: directory and position in it.
pub(super) type Place = (usize, usize);

/// The members of each group of at least two, the first path first.
pub(super) type Groups = Vec<Vec<Place>>;

/// Finds the groups, numbers their members, and marks directories whose members have other numbers than the cache
/// says.
pub(super) fn group(listing: &mut Listing) -> Groups {
    let mut by_file: HashMap<FileId, Vec<Place>> = HashMap::new();
    for (index, directory) in listing.directories.iter().enumerate() {
        for (position, item) in directory.items.iter().enumerate() {
            if item.kind != EntryKind::Directory && item.stat.links > 1 && !item.gone {
                by_file.entry(item.stat.id).or_default().push((index, position));
            }
        }
    }
    let mut groups: Vec<(Vec<u8>, Vec<Place>)> = Vec::new();
    for members in by_file.into_values().filter(|members| members.len() > 1) {
        let mut named: Vec<(Vec<u8>, Place)> = members
            .into_iter()
            .map(|(index, position)| {
                let directory = &listing.directories[index];
                let name = directory.name_bytes(&directory.items[position]);
                (directory.folder.relative(name), (index, position))
            })
            .collect();
        named.sort_unstable();
        let members = named.iter().map(|(_, place)| *place).collect();
        groups.push((named.swap_remove(0).0, members));
    }
    groups.sort_unstable();
    let paths: Vec<&[u8]> = groups.iter().map(|(path, _)| &path[..]).collect();
    let mut taken = HashSet::new();
    let numbers: Vec<u64> = hash::content_ids(&paths)
        .into_iter()
        .map(|id| {
            let mut number = id.0.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
            while !taken.insert(number) {
                number = number.wrapping_add(1);
            }
            number
        })
        .collect();

    let mut wanted: HashMap<Place, u64> = HashMap::new();
    for ((_, members), number) in groups.iter().zip(numbers) {
        wanted.extend(members.iter().map(|place| (*place, number)));
    }
    for (index, directory) in listing.directories.iter_mut().enumerate() {
        for (position, item) in directory.items.iter_mut().enumerate() {
            // Most names have one link and never had more.
            if item.stat.links <= 1 && item.link_group.is_none() {
                continue;
            }
            let group = wanted.get(&(index, position)).copied();
            if item.link_group != group {
                item.link_group = group;
                directory.dirty = true;
            }
        }
    }
    listing.carry_dirt();
    groups.into_iter().map(|(_, members)| members).collect()
}

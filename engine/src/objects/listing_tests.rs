//! Tests of manifests under construction, with bounds small enough for many levels.

use std::collections::HashMap;

use super::*;

const BOUNDS: [usize; 2] = [2, 8];
const CONTENT: ContentId = ContentId([5; 32]);

/// Chunks of different ids, one in 16 of which may end a part.
fn pieces(count: usize) -> Vec<Piece> {
    let chunk = |at: usize| {
        let mut id = crate::hash::content_id(&at.to_le_bytes());
        if id.0[2] < 16 {
            id.0[..2].fill(0);
        }
        Piece::Chunk {
            id,
            length: 1000 + at as u32,
        }
    };
    (0..count).map(chunk).collect()
}

/// Lists the pieces as a stream does; returns the stored parts and the root.
fn list(pieces: &[Piece]) -> (HashMap<ContentId, Bytes>, Bytes) {
    let mut listing = Listing::with_bounds(BOUNDS);
    let mut parts = HashMap::new();
    for piece in pieces {
        listing.push(*piece);
        while let Some((id, bytes)) = listing.part() {
            parts.insert(id, bytes);
        }
        assert!(
            listing.unlisted().count() <= 4 * BOUNDS[1],
            "what is in no part stays bounded"
        );
    }
    let (last, root) = listing.finish(CONTENT);
    parts.extend(last);
    (parts, root)
}

/// The chunks a manifest lists, through all its parts.
fn flatten(manifest: &Manifest, parts: &HashMap<ContentId, Bytes>, out: &mut Vec<Piece>) {
    assert!(manifest.len() <= BOUNDS[1]);
    for piece in manifest.pieces() {
        match piece {
            Piece::Part { id, length } => {
                let part = Manifest::decode_part(parts[&id].clone(), id).expect("a whole part");
                assert_eq!((part.level() + 1, part.length()), (manifest.level(), length));
                flatten(&part, parts, out);
            }
            piece => out.push(piece),
        }
    }
}

/// Goal: whatever the number of records, the tree lists them in order within bounds. Method: every number up to
/// beyond two levels, and one that needs four.
#[test]
fn trees_of_any_size_list_everything() {
    for count in (0..150).chain([700]) {
        let pieces = pieces(count);
        let (parts, root) = list(&pieces);
        let root = Manifest::decode_root(root, CONTENT).expect("a whole root");
        let mut found = Vec::new();
        flatten(&root, &parts, &mut found);
        assert_eq!(found, pieces, "{count}");
        assert_eq!(
            root.level() == 0,
            count <= BOUNDS[1],
            "{count}: one manifest if they fit"
        );
    }
}

/// Goal: the manifests do not depend on when parts are asked for. Method: once after every record, once at the end.
#[test]
fn asking_for_parts_late_changes_nothing() {
    let pieces = pieces(400);
    let (parts, root) = list(&pieces);
    let mut listing = Listing::with_bounds(BOUNDS);
    pieces.iter().for_each(|piece| listing.push(*piece));
    let (late, late_root) = listing.finish(CONTENT);
    assert_eq!(late_root, root);
    assert_eq!(late.into_iter().collect::<HashMap<_, _>>(), parts);
}

/// Goal: an insertion changes few parts. Method: insert a record near the front and count parts in common.
#[test]
fn versions_share_parts() {
    let pieces = pieces(2000);
    let mut edited = pieces.clone();
    edited.insert(100, Piece::Hole { length: 70_000 });
    let mut levels = [Listing::with_bounds([8, 256]), Listing::with_bounds([8, 256])];
    let parts = levels
        .iter_mut()
        .zip([&pieces, &edited])
        .map(|(listing, pieces)| {
            pieces.iter().for_each(|piece| listing.push(*piece));
            std::iter::from_fn(|| listing.part())
                .map(|(id, _)| id)
                .collect::<Vec<_>>()
        });
    let [old, new]: [Vec<ContentId>; 2] = parts.collect::<Vec<_>>().try_into().expect("two");
    let different = new.iter().filter(|id| !old.contains(id)).count();
    assert!(old.len() > 20 && different <= 3, "{different} of {}", old.len());
}

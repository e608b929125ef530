//! Everything a commit will write, worked out without changing the tree.
//!
//! New contents are hashed as one batch. Directories follow from the deepest up, those of one depth together: the
//! leaves of all as one batch, then each level above. A node that changes is copied and patched where its names stay.
//! Invariant: the order of what is planned depends on the changes alone, so that equal runs write equal frames.

use std::ops::Range;

use bytes::Bytes;

use super::edit::{Content, DirectoryIndex, ROOT};
use super::finish::{Finisher, Patched};
use super::nodes::{Node, build_level};
use super::record::GONE;
use super::reshape::reshape;
use super::{Stop, WorkingTree};
use crate::format::ContentId;
use crate::format::node::FileTime;
use crate::store::Extent;
use crate::trees::{ids, node};

/// Bytes of a typical leaf and inner node, rounded up; what more is needed is allocated.
const LEAF_BYTES: usize = 1280;
const INNER_BYTES: usize = 1024;

/// What a commit will write and what the tree will look like.
pub(super) struct Plan {
    /// Contents, then nodes from the leaves up.
    pub extents: Vec<Extent>,
    /// The new nodes, one after the other; the extents are slices of it.
    pub nodes: Bytes,
    /// Nodes that take the place of others of the same names.
    pub patches: Vec<Patch>,
    /// All nodes of directories whose names have changed.
    pub reshaped: Vec<Reshaped>,
    /// Id of the top directory.
    pub root: ContentId,
}

/// A node with new bytes.
pub(super) struct Patch {
    pub directory: DirectoryIndex,
    pub level: u8,
    pub index: u32,
    /// Its bytes in the plan's nodes.
    pub range: Range<usize>,
    pub id: ContentId,
}

/// A plan being made.
struct Draft {
    nodes: Vec<u8>,
    /// What of `nodes` has an id.
    hashed: Vec<(ContentId, Range<usize>)>,
    patches: Vec<Patch>,
    reshaped: Vec<Reshaped>,
}

/// A directory with another set of names.
pub(super) struct Reshaped {
    pub directory: DirectoryIndex,
    pub levels: Vec<Vec<Node>>,
    /// Nodes of the top level that have no id yet.
    changed: Vec<u32>,
}

/// One changed directory of the plan.
struct Step {
    directory: DirectoryIndex,
    depth: u32,
    /// Its changed leaves, in `Steps::leaves`.
    leaves: Range<usize>,
    /// New contents of entries in leaves, and of added ones, in order of names.
    kept_contents: Range<usize>,
    added_contents: Range<usize>,
}

impl WorkingTree {
    /// Plans a commit that sets `time` on what was made or written.
    pub(super) fn plan(&self, time: Option<FileTime>) -> Result<Plan, Stop> {
        let (mut steps, leaves) = self.steps();
        let contents = self.hash_contents(&mut steps, &leaves);
        let mut plan = Draft {
            nodes: Vec::with_capacity(leaves.len() * LEAF_BYTES + steps.len() * INNER_BYTES),
            hashed: Vec::with_capacity(leaves.len() + steps.len() * 2),
            patches: Vec::with_capacity(leaves.len() + steps.len() * 2),
            reshaped: Vec::new(),
        };
        let mut directories = vec![ContentId([0; 32]); self.dirty.len()];
        let mut changed = self.dirty.clone();
        changed.sort_unstable();
        for group in steps.chunk_by(|a, b| a.depth == b.depth) {
            let mut finish = Finisher {
                tree: self,
                contents: &contents,
                directories: &directories,
                changed: &changed,
                time,
            };
            let first_patch = plan.patches.len();
            let first_reshaped = plan.reshaped.len();
            for step in group {
                self.plan_leaves(step, &leaves[step.leaves.clone()], &mut finish, &mut plan)?;
            }
            self.plan_levels(first_patch, first_reshaped, &mut plan);
            for step in group {
                let position = self.directory(step.directory).dirty.unwrap_or_default();
                directories[position as usize] = self.directory(step.directory).nodes.id();
            }
            for patch in &plan.patches[first_patch..] {
                let directory = self.directory(patch.directory);
                if usize::from(patch.level) + 1 == directory.nodes.levels.len() {
                    directories[directory.dirty.unwrap_or_default() as usize] = patch.id;
                }
            }
            for reshaped in &plan.reshaped[first_reshaped..] {
                let position = self.directory(reshaped.directory).dirty.unwrap_or_default();
                directories[position as usize] = reshaped.levels[reshaped.levels.len() - 1][0].id;
            }
        }
        let top = self.directory(ROOT);
        let root = top
            .dirty
            .map_or_else(|| top.nodes.id(), |position| directories[position as usize]);
        let nodes = Bytes::from(plan.nodes);
        let mut extents = Vec::with_capacity(contents.len() + plan.hashed.len() + 2);
        self.content_extents(&steps, &leaves, &contents, &mut extents);
        let domain = self.trees.domain;
        let node = |(id, range)| node::node_extent(domain, id, nodes.slice(range));
        extents.extend(plan.hashed.into_iter().map(node));
        Ok(Plan {
            extents,
            nodes,
            patches: plan.patches,
            reshaped: plan.reshaped,
            root,
        })
    }

    /// Changed directories from the deepest up, and their changed leaves.
    fn steps(&self) -> (Vec<Step>, Vec<u32>) {
        let mut steps: Vec<Step> = Vec::with_capacity(self.dirty.len());
        for &directory in self.dirty.iter().filter(|&&directory| directory != GONE) {
            let mut depth = 0;
            let mut at = directory;
            while at != ROOT {
                at = self.directory(at).parent;
                depth += 1;
            }
            steps.push(Step {
                directory,
                depth,
                leaves: 0..0,
                kept_contents: 0..0,
                added_contents: 0..0,
            });
        }
        steps.sort_by_key(|step| std::cmp::Reverse(step.depth));
        let mut leaves = Vec::with_capacity(steps.len() * 2);
        for step in &mut steps {
            let start = leaves.len();
            leaves.extend_from_slice(&self.directory(step.directory).dirty_leaves);
            leaves[start..].sort_unstable();
            let mut end = start;
            for at in start..leaves.len() {
                if at == start || leaves[at] != leaves[end - 1] {
                    leaves[end] = leaves[at];
                    end += 1;
                }
            }
            leaves.truncate(end);
            step.leaves = start..end;
        }
        (steps, leaves)
    }

    fn hash_contents(&self, steps: &mut [Step], leaves: &[u32]) -> Vec<ContentId> {
        let mut contents: Vec<&[u8]> = Vec::new();
        for step in steps {
            let directory = self.directory(step.directory);
            let start = contents.len();
            for leaf in &leaves[step.leaves.clone()] {
                for (_, edit) in &directory.nodes.levels[0][*leaf as usize].edits {
                    contents.extend(edit.content().and_then(in_memory));
                }
            }
            step.kept_contents = start..contents.len();
            let start = contents.len();
            contents.extend(
                directory
                    .added
                    .values()
                    .filter_map(|pending| in_memory(&pending.content)),
            );
            step.added_contents = start..contents.len();
        }
        if contents.is_empty() {
            Vec::new()
        } else {
            ids::content_ids(&contents)
        }
    }

    fn content_extents(&self, steps: &[Step], leaves: &[u32], ids: &[ContentId], extents: &mut Vec<Extent>) {
        let mut ids = ids.iter();
        let domain = self.trees.domain;
        let mut push = |content: Option<&Content>| {
            if let Some(Content::Bytes(bytes)) = content
                && let Some(id) = ids.next()
            {
                let key = node::data_key(domain, *id);
                extents.push(Extent {
                    key,
                    bytes: bytes.clone(),
                });
            }
        };
        for step in steps {
            let directory = self.directory(step.directory);
            for leaf in &leaves[step.leaves.clone()] {
                let edits = &directory.nodes.levels[0][*leaf as usize].edits;
                edits.iter().for_each(|(_, edit)| push(edit.content()));
            }
            directory
                .added
                .values()
                .for_each(|pending| push(Some(&pending.content)));
        }
    }

    /// The changed leaves of one directory, without ids.
    fn plan_leaves(
        &self,
        step: &Step,
        leaves: &[u32],
        finish: &mut Finisher<'_>,
        plan: &mut Draft,
    ) -> Result<(), Stop> {
        let directory = self.directory(step.directory);
        if directory.names_changed() {
            let (kept, added) = (step.kept_contents.clone(), step.added_contents.clone());
            let leaves = reshape(directory, step.directory, finish, kept, added)?;
            plan.reshaped.push(Reshaped {
                directory: step.directory,
                levels: vec![leaves.nodes],
                changed: leaves.changed,
            });
            return Ok(());
        }
        if !directory.stored {
            // Nothing in it yet, so its only node is what the store lacks.
            plan.nodes.extend_from_slice(&directory.nodes.levels[0][0].bytes);
            plan.patch(step.directory, 0, 0, directory.nodes.levels[0][0].bytes.len());
            return Ok(());
        }
        let mut contents = step.kept_contents.clone();
        for index in leaves {
            let node = &directory.nodes.levels[0][*index as usize];
            let before = contents.clone();
            let start = plan.nodes.len();
            match finish.patch(node, &mut contents, &mut plan.nodes) {
                Patched::Same => continue,
                Patched::InPlace => {}
                Patched::Longer => {
                    plan.nodes.truncate(start);
                    contents = before;
                    let bytes = finish.encode(node, &mut contents);
                    if bytes == node.bytes[..] {
                        continue;
                    }
                    plan.nodes.extend_from_slice(&bytes);
                }
            }
            plan.patch(step.directory, 0, *index, plan.nodes.len() - start);
        }
        Ok(())
    }

    /// Hashes what was planned for one depth, and plans and hashes the levels above until every directory has a root.
    fn plan_levels(&self, first_patch: usize, first_reshaped: usize, plan: &mut Draft) {
        let mut wave = first_patch..plan.patches.len();
        loop {
            self.hash_wave(wave.clone(), first_reshaped, plan);
            let start = plan.patches.len();
            self.plan_inner(wave, plan);
            wave = start..plan.patches.len();
            let mut higher = false;
            for reshaped in &mut plan.reshaped[first_reshaped..] {
                higher |= reshaped.rise(&self.directory(reshaped.directory).nodes.levels);
            }
            if wave.is_empty() && !higher {
                return;
            }
        }
    }

    fn hash_wave(&self, wave: Range<usize>, first_reshaped: usize, plan: &mut Draft) {
        let patched = plan.patches[wave.clone()]
            .iter()
            .map(|patch| &plan.nodes[patch.range.clone()]);
        let reshaped = plan.reshaped[first_reshaped..].iter().flat_map(|reshaped| {
            let level = &reshaped.levels[reshaped.levels.len() - 1];
            reshaped
                .changed
                .iter()
                .map(|index| &level[*index as usize].bytes[..])
        });
        let nodes: Vec<&[u8]> = patched.chain(reshaped).collect();
        if nodes.is_empty() {
            return;
        }
        let mut ids = ids::node_ids(&nodes).into_iter();
        for (patch, id) in plan.patches[wave].iter_mut().zip(&mut ids) {
            patch.id = id;
            plan.hashed.push((id, patch.range.clone()));
        }
        for reshaped in &mut plan.reshaped[first_reshaped..] {
            let top = reshaped.levels.len() - 1;
            for (index, id) in reshaped.changed.drain(..).zip(&mut ids) {
                let node = &mut reshaped.levels[top][index as usize];
                node.id = id;
                let start = plan.nodes.len();
                plan.nodes.extend_from_slice(&node.bytes);
                plan.hashed.push((id, start..plan.nodes.len()));
            }
        }
    }

    /// Patches the nodes above those of a wave.
    fn plan_inner(&self, wave: Range<usize>, plan: &mut Draft) {
        let first_above = plan.patches.len();
        for position in wave {
            let Patch {
                directory,
                level,
                index,
                id,
                ..
            } = plan.patches[position];
            let nodes = &self.directory(directory).nodes;
            let below = usize::from(level);
            if below + 1 == nodes.levels.len() {
                continue;
            }
            let parent = nodes.levels[below][index as usize].parent;
            let last = plan.patches[first_above..].last();
            if last.is_none_or(|last| (last.directory, last.index) != (directory, parent)) {
                let bytes = &nodes.levels[below + 1][parent as usize].bytes;
                plan.nodes.extend_from_slice(bytes);
                plan.patch(directory, level + 1, parent, bytes.len());
            }
            let start = plan.patches[plan.patches.len() - 1].range.start;
            let id_range = nodes.id_range(below, parent, index);
            plan.nodes[start..][id_range].copy_from_slice(&id.0);
        }
    }
}

impl Draft {
    /// Takes the last `length` bytes of the nodes as the new bytes of a node.
    fn patch(&mut self, directory: DirectoryIndex, level: u8, index: u32, length: usize) {
        self.patches.push(Patch {
            directory,
            level,
            index,
            range: self.nodes.len() - length..self.nodes.len(),
            id: ContentId([0; 32]),
        });
    }
}

impl Reshaped {
    /// Builds the next level up; false if there is a root already.
    fn rise(&mut self, old: &[Vec<Node>]) -> bool {
        let height = self.levels.len();
        let below = &mut self.levels[height - 1];
        if below.len() < 2 {
            return false;
        }
        let old = old.get(height).map_or(&[][..], |level| &level[..]);
        let level = u8::try_from(height).unwrap_or(u8::MAX);
        let (built, changed) = build_level(level, below, old);
        self.levels.push(built);
        self.changed = changed;
        true
    }
}

fn in_memory(content: &Content) -> Option<&[u8]> {
    match content {
        Content::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

//! Two versions of one directory, side by side: which names differ, at a cost proportional to how many do.
//!
//! Both sides are opened level by level. Nodes of one level that both have drop out by id, wherever they stand, so a
//! boundary that has shifted costs its neighbours and nothing more. What is below the directory is the affair of the
//! caller (`diff`, `merge`), who opens a pair for each directory in it, and reads for many pairs at once.
//! Invariant: a name whose entry is the same on both sides, byte for byte, is never answered.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::Trees;
use super::directory_read::{Expected, Fetched, fetch};
use super::node::{Item, malformed};
use crate::error::Result;
use crate::format::ContentId;
use crate::format::node::{LeafView, NodeDamage, NodeView};

/// A comparison in progress.
pub(super) struct Pair {
    old: Side,
    new: Side,
}

/// One name that differs; a side that does not have it is absent.
pub(super) struct Unequal {
    pub name: bytes::Bytes,
    pub old: Option<Item>,
    pub new: Option<Item>,
}

/// Nodes yet to be read, all of one level, and entries found.
#[derive(Default)]
struct Side {
    nodes: Vec<(ContentId, Option<Expected>)>,
    items: Vec<Item>,
}

impl Side {
    fn of(id: Option<ContentId>) -> Side {
        Side {
            nodes: id.map(|id| (id, None)).into_iter().collect(),
            items: Vec::new(),
        }
    }

    /// Level of the nodes; nothing while it is not known.
    fn level(&self) -> Option<u8> {
        self.nodes
            .first()
            .and_then(|(_, expected)| expected.as_ref())
            .map(|expected| expected.level)
    }

    fn take(&mut self, node: &Fetched) -> Result<()> {
        match node.view()? {
            NodeView::Inner(inner) => {
                let children = node.children(&inner).into_iter();
                self.nodes
                    .extend(children.map(|(id, expected)| (id, Some(expected))));
            }
            NodeView::Leaf(leaf) => self.take_leaf(node, &leaf)?,
        }
        Ok(())
    }

    fn take_leaf(&mut self, node: &Fetched, leaf: &LeafView<'_>) -> Result<()> {
        for (name, record, attributes) in leaf.iter() {
            if self.items.last().is_some_and(|last| &last.name[..] >= name) {
                return Err(malformed(node.id, NodeDamage::Order));
            }
            self.items.push(Item {
                name: node.bytes.slice_ref(name),
                record: *record,
                attributes: node.bytes.slice_ref(attributes),
            });
        }
        Ok(())
    }
}

impl Pair {
    /// The directories with these nodes; absent ones have no entries. Equal ones are read already.
    pub fn open(old: Option<ContentId>, new: Option<ContentId>) -> Pair {
        if old == new {
            return Pair {
                old: Side::default(),
                new: Side::default(),
            };
        }
        Pair {
            old: Side::of(old),
            new: Side::of(new),
        }
    }

    /// True once nothing more has to be read.
    pub fn is_read(&self) -> bool {
        self.old.nodes.is_empty() && self.new.nodes.is_empty()
    }

    /// The names that differ, in order. Everything must have been read.
    pub fn unequal(self) -> Vec<Unequal> {
        let (mut old, mut new) = (
            self.old.items.into_iter().peekable(),
            self.new.items.into_iter().peekable(),
        );
        let mut found = Vec::new();
        loop {
            let order = match (old.peek(), new.peek()) {
                (Some(old), Some(new)) => old.name.cmp(&new.name),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return found,
            };
            let old = if order.is_le() { old.next() } else { None };
            let new = if order.is_ge() { new.next() } else { None };
            if !is_same(old.as_ref(), new.as_ref())
                && let Some(either) = old.as_ref().or(new.as_ref())
            {
                let name = either.name.clone();
                found.push(Unequal { name, old, new });
            }
        }
    }

    /// Drops nodes that both sides have.
    fn cancel(&mut self) {
        if self.old.level().is_none() || self.old.level() != self.new.level() {
            return;
        }
        let ids = |side: &Side| {
            side.nodes
                .iter()
                .map(|(id, _)| *id)
                .collect::<HashSet<ContentId>>()
        };
        let (old, new) = (ids(&self.old), ids(&self.new));
        self.old.nodes.retain(|(id, _)| !new.contains(id));
        self.new.nodes.retain(|(id, _)| !old.contains(id));
    }

    /// Which sides have to be read next: the higher one, so that the two meet on one level.
    fn turns(&self) -> [bool; 2] {
        match (self.old.level(), self.new.level()) {
            (Some(old), Some(new)) => [old >= new, new >= old],
            _ => [true, true],
        }
    }
}

/// Reads one step further down in every pair, as one batch.
pub(super) async fn descend(trees: &Trees, pairs: &mut [&mut Pair]) -> Result<()> {
    let mut wanted = Vec::new();
    let mut owners = Vec::new();
    for (index, pair) in pairs.iter_mut().enumerate() {
        pair.cancel();
        let turns = pair.turns();
        for (turn, side) in [&mut pair.old, &mut pair.new].into_iter().enumerate() {
            if turns[turn] {
                owners.extend(std::iter::repeat_n((index, turn), side.nodes.len()));
                wanted.append(&mut side.nodes);
            }
        }
    }
    let nodes = fetch(&trees.store, trees.domain, &wanted).await?;
    for ((index, turn), node) in owners.into_iter().zip(&nodes) {
        let pair = &mut pairs[index];
        let side = if turn == 0 { &mut pair.old } else { &mut pair.new };
        side.take(node)?;
    }
    Ok(())
}

/// True if both are absent, or the same byte for byte.
pub(super) fn is_same(old: Option<&Item>, new: Option<&Item>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => {
            let fields = |item: &Item| {
                let record = &item.record;
                (
                    record.id,
                    record.size.get(),
                    record.mode.get(),
                    record.kind,
                    record.tags.get(),
                )
            };
            fields(old) == fields(new) && old.attributes == new.attributes
        }
        (None, None) => true,
        _ => false,
    }
}

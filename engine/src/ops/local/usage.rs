//! `du`: how many stored bytes each name keeps alive, alone and together with others.
//!
//! Exact: what names share is found extent by extent, with one owner for each, and not estimated from sizes. Bytes
//! are those on the device, from the index.

use super::graph::{Graph, Marks, Vertex};
use super::open::Engine;
use crate::error::{Error, Result};
use crate::format::Kind;
use crate::ops::{Amount, ByteString, Exchange, KeeperKind, Usage, UsageRequest, UsageRow};
use crate::store::{Key, Root, RootKind};

/// No name has reached an extent.
const NOBODY: u32 = u32::MAX;
/// More than one has.
const SHARED: u32 = u32::MAX - 1;

/// Roots counted together.
struct Group {
    kind: KeeperKind,
    name: Option<ByteString>,
    roots: Vec<Root>,
}

impl Engine {
    pub fn usage(&self, request: &UsageRequest, exchange: &mut dyn Exchange) -> Result<Usage> {
        let roots = self.all_roots();
        let graph = Graph::of(self, &roots, exchange)?;
        graph.check()?;
        let groups = groups(&roots);
        let mut owners = vec![NOBODY; graph.len()];
        let mut marks = Marks::default();
        let mut rows = Vec::with_capacity(groups.len());
        for (number, group) in (0u32..).zip(&groups) {
            if exchange.cancel().is_cancelled() {
                return Err(Error::Cancelled);
            }
            marks.begin(&graph);
            let mut all = Amount::default();
            graph.walk(&group.roots, &mut marks, |vertex| {
                add(&mut all, &graph, vertex);
                let owner = &mut owners[vertex as usize];
                *owner = if *owner == NOBODY { number } else { SHARED };
                true
            })?;
            rows.push(row(group.kind, group.name.clone(), all));
        }
        let mut total = Amount::default();
        for (vertex, owner) in (0u32..).zip(&owners) {
            add(&mut total, &graph, vertex);
            if let Some(row) = rows.get_mut(*owner as usize) {
                add(&mut row.unique, &graph, vertex);
            }
        }
        rows.iter_mut().for_each(share);
        if !request.revisions.is_empty() {
            let mut asked = Vec::with_capacity(request.revisions.len());
            for revision in &request.revisions {
                let known = rows.iter().find(|row| row.name.as_ref() == Some(revision));
                asked.push(match known {
                    Some(row) => row.clone(),
                    None => self.state_row(revision, &graph, &roots, &mut marks)?,
                });
            }
            rows = asked;
        }
        Ok(Usage { rows, total })
    }

    /// What a commit that has no name holds, without its history.
    fn state_row(
        &self,
        revision: &ByteString,
        graph: &Graph<'_>,
        roots: &[Root],
        marks: &mut Marks,
    ) -> Result<UsageRow> {
        let id = self.resolve_commit(revision)?;
        let commit = graph.find(&Key {
            domain: self.trees.domain(),
            kind: Kind::Commit,
            id,
        });
        let commit = commit.ok_or_else(|| {
            let what = format!("a branch or tag that `{revision}` belongs to (it was forgotten or deleted)");
            Error::not_found(what)
        })?;
        let mut all = Amount::default();
        marks.begin(graph);
        graph.walk_from(commit, u64::MAX, marks, |vertex| {
            add(&mut all, graph, vertex);
            true
        });
        let mut row = row(KeeperKind::Revision, Some(revision.clone()), all);
        // Everything else there is; its parents are reached past it.
        marks.begin(graph);
        marks.mark(commit);
        graph.walk_all(roots, marks, |_| true)?;
        for parent in parents(graph, commit) {
            graph.walk_from(parent, 0, marks, |_| true);
        }
        add(&mut row.unique, graph, commit);
        for child in graph.references(commit) {
            if graph.kind(*child) != Kind::Commit {
                graph.walk_from(*child, u64::MAX, marks, |vertex| {
                    add(&mut row.unique, graph, vertex);
                    true
                });
            }
        }
        share(&mut row);
        Ok(row)
    }
}

fn parents(graph: &Graph<'_>, commit: Vertex) -> Vec<Vertex> {
    let references = graph.references(commit).iter().copied();
    references
        .filter(|vertex| graph.kind(*vertex) == Kind::Commit)
        .collect()
}

/// Every branch and tag by itself, by kind and name; pins, and what is remembered of directories, together.
fn groups(roots: &[Root]) -> Vec<Group> {
    let of = |kind: RootKind| roots.iter().filter(move |root| root.kind == kind).cloned();
    let mut groups: Vec<Group> = Vec::new();
    for (kind, shown) in [
        (RootKind::Branch, KeeperKind::Branch),
        (RootKind::Tag, KeeperKind::Tag),
    ] {
        let mut named: Vec<Root> = of(kind).collect();
        named.sort_by(|a, b| a.name.cmp(&b.name));
        groups.extend(named.into_iter().map(|root| Group {
            kind: shown,
            name: Some(ByteString::from(&root.name[..])),
            roots: vec![root],
        }));
    }
    let sums = [
        (RootKind::Pin, KeeperKind::Pin),
        (RootKind::Workspace, KeeperKind::Workspace),
    ];
    for (kind, shown) in sums {
        let roots: Vec<Root> = of(kind).collect();
        if !roots.is_empty() {
            groups.push(Group {
                kind: shown,
                name: None,
                roots,
            });
        }
    }
    groups
}

fn row(kind: KeeperKind, name: Option<ByteString>, all: Amount) -> UsageRow {
    UsageRow {
        kind,
        name,
        all,
        unique: Amount::default(),
        shared: Amount::default(),
    }
}

fn add(amount: &mut Amount, graph: &Graph<'_>, vertex: Vertex) {
    amount.extents += 1;
    amount.bytes += graph.bytes(vertex);
}

/// The rest is shared.
fn share(row: &mut UsageRow) {
    row.shared = Amount {
        bytes: row.all.bytes - row.unique.bytes,
        extents: row.all.extents - row.unique.extents,
    };
}

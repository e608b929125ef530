//! Everything that roots keep alive, as a graph in memory: what `why` and `du` ask many questions of.
//!
//! Extents are numbered in the order in which they are found; an edge is the number of the extent referred to. That
//! is about 100 bytes for each extent and 4 for each reference, never the extents' bytes.
//! A commit's edges include the parents that the longest history through it follows; shorter histories stop at their
//! own floors ([`Graph::walk`]).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use bytes::Bytes;

use super::open::Engine;
use super::reach::{Reach, Visit};
use crate::error::{Error, Result};
use crate::format::Kind;
use crate::format::commit::CommitView;
use crate::ops::{Exchange, Stage};
use crate::store::{Key, Root};
use crate::trees::root_starts;

/// An extent by its number.
pub(super) type Vertex = u32;

/// A graph.
pub(super) struct Graph<'a> {
    engine: &'a Engine,
    numbers: HashMap<Key, Vertex>,
    vertices: Vec<Extent>,
    edges: Vec<Vertex>,
    commits: HashMap<Vertex, Times>,
    /// The one whose references are being told.
    current: usize,
    /// The first thing that is wrong, and how many more there are.
    damage: Option<(String, u64)>,
}

struct Extent {
    kind: Kind,
    /// Stored bytes.
    bytes: u32,
    first_edge: usize,
    edges: u32,
}

struct Times {
    made_ns: u64,
    /// The lowest floor of a history through it.
    floor_ns: u64,
}

/// Which extents a walk has been at; kept between walks to save the clearing.
#[derive(Default)]
pub(super) struct Marks {
    walk: u32,
    at: Vec<u32>,
}

impl Marks {
    /// Forgets everything.
    pub fn begin(&mut self, graph: &Graph<'_>) {
        self.walk += 1;
        self.at.resize(graph.len(), 0);
    }

    /// Marks an extent; true the first time.
    pub fn mark(&mut self, vertex: Vertex) -> bool {
        let at = &mut self.at[vertex as usize];
        std::mem::replace(at, self.walk) != self.walk
    }
}

impl<'a> Graph<'a> {
    /// What `roots` keep alive.
    ///
    /// # Errors
    /// `Cancelled`; what can't be read is only counted, see [`Graph::check`].
    pub fn of(engine: &'a Engine, roots: &[Root], exchange: &dyn Exchange) -> Result<Graph<'a>> {
        let mut graph = Graph {
            engine,
            numbers: HashMap::new(),
            vertices: Vec::new(),
            edges: Vec::new(),
            commits: HashMap::new(),
            current: 0,
            damage: None,
        };
        let mut reach = Reach::new(engine, false, Stage::Following, exchange);
        for root in roots {
            reach.root(root, &mut graph, exchange)?;
        }
        Ok(graph)
    }

    /// Refuses to answer from a graph with holes.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<()> {
        match &self.damage {
            None => Ok(()),
            Some((first, more)) => Err(Error::Incomplete {
                first: first.clone(),
                more: *more,
            }),
        }
    }

    /// Number of extents.
    pub fn len(&self) -> usize {
        self.vertices.len()
    }

    /// All extents with their keys, in no order.
    pub fn keys(&self) -> impl Iterator<Item = (&Key, Vertex)> {
        self.numbers.iter().map(|(key, vertex)| (key, *vertex))
    }

    /// The extent with this key.
    pub fn find(&self, key: &Key) -> Option<Vertex> {
        self.numbers.get(key).copied()
    }

    /// Kind of an extent.
    pub fn kind(&self, vertex: Vertex) -> Kind {
        self.vertices[vertex as usize].kind
    }

    /// Stored bytes of an extent.
    pub fn bytes(&self, vertex: Vertex) -> u64 {
        u64::from(self.vertices[vertex as usize].bytes)
    }

    /// Time in a commit.
    pub fn made_ns(&self, commit: Vertex) -> u64 {
        self.commits.get(&commit).map_or(0, |times| times.made_ns)
    }

    /// What an extent refers to, as often as it does.
    pub fn references(&self, vertex: Vertex) -> &[Vertex] {
        let extent = &self.vertices[vertex as usize];
        let edges: Range<usize> = extent.first_edge..extent.first_edge + extent.edges as usize;
        &self.edges[edges]
    }

    /// Visits everything that `roots` reach and `marks` do not have. The visitor says whether to go on below an extent.
    ///
    /// # Errors
    /// `Invalid` if a root is malformed.
    pub fn walk<'r>(
        &self,
        roots: impl IntoIterator<Item = &'r Root>,
        marks: &mut Marks,
        mut follow: impl FnMut(Vertex) -> bool,
    ) -> Result<()> {
        let mut starts = self.starts(roots)?;
        // A commit is gone through once: with the lowest of its floors.
        starts.sort_by_key(|(_, floor_ns)| *floor_ns);
        for (vertex, floor_ns) in starts {
            self.walk_from(vertex, floor_ns, marks, &mut follow);
        }
        Ok(())
    }

    /// Visits everything that any of `roots` reaches; histories go down as far as that of any root in the graph.
    ///
    /// # Errors
    /// `Invalid` if a root is malformed.
    pub fn walk_all(
        &self,
        roots: &[Root],
        marks: &mut Marks,
        mut follow: impl FnMut(Vertex) -> bool,
    ) -> Result<()> {
        for (vertex, _) in self.starts(roots)? {
            self.walk_from(vertex, 0, marks, &mut follow);
        }
        Ok(())
    }

    fn starts<'r>(&self, roots: impl IntoIterator<Item = &'r Root>) -> Result<Vec<(Vertex, u64)>> {
        let mut found = Vec::new();
        for root in roots {
            for start in root_starts(root)? {
                let key = Key {
                    domain: root.domain,
                    kind: start.kind,
                    id: start.id,
                };
                found.extend(self.find(&key).map(|vertex| (vertex, start.floor_ns)));
            }
        }
        Ok(found)
    }

    /// The same from one extent; a commit's history goes down to `floor_ns`.
    pub fn walk_from(
        &self,
        start: Vertex,
        floor_ns: u64,
        marks: &mut Marks,
        mut follow: impl FnMut(Vertex) -> bool,
    ) {
        let mut waiting = Vec::new();
        if marks.mark(start) {
            waiting.push(start);
        }
        while let Some(vertex) = waiting.pop() {
            if !follow(vertex) {
                continue;
            }
            let parents = self.kind(vertex) == Kind::Commit && self.made_ns(vertex) > floor_ns;
            for child in self.references(vertex) {
                let parent = self.kind(*child) == Kind::Commit;
                if (!parent || parents) && marks.mark(*child) {
                    waiting.push(*child);
                }
            }
        }
    }

    fn number(&mut self, key: &Key) -> (Vertex, bool) {
        let next = u32::try_from(self.vertices.len()).expect("the index holds fewer extents");
        match self.numbers.entry(*key) {
            Entry::Occupied(known) => (*known.get(), false),
            Entry::Vacant(new) => {
                new.insert(next);
                self.vertices.push(Extent {
                    kind: key.kind,
                    bytes: self.engine.store.length(*key).unwrap_or(0),
                    first_edge: 0,
                    edges: 0,
                });
                (next, true)
            }
        }
    }
}

impl Visit for Graph<'_> {
    fn reach(&mut self, parent: Option<&Key>, child: &Key, floor_ns: u64) -> bool {
        let (vertex, new) = self.number(child);
        if parent.is_some() {
            self.edges.push(vertex);
            self.vertices[self.current].edges += 1;
        }
        if child.kind != Kind::Commit {
            return new;
        }
        match self.commits.entry(vertex) {
            Entry::Vacant(first) => {
                first.insert(Times { made_ns: 0, floor_ns });
                true
            }
            Entry::Occupied(mut times) => {
                let again = floor_ns < times.get().floor_ns;
                times.get_mut().floor_ns = floor_ns.min(times.get().floor_ns);
                again
            }
        }
    }

    fn passed(&mut self, key: &Key, bytes: Option<&Bytes>) {
        let (vertex, _) = self.number(key);
        self.current = vertex as usize;
        let extent = &mut self.vertices[self.current];
        (extent.first_edge, extent.edges) = (self.edges.len(), 0);
        if let (Kind::Commit, Some(bytes)) = (key.kind, bytes)
            && let Ok(view) = CommitView::decode(bytes)
            && let Some(times) = self.commits.get_mut(&vertex)
        {
            times.made_ns = view.time_ns;
        }
    }

    fn damaged(&mut self, _: &Root, error: &Error) {
        match &mut self.damage {
            Some((_, more)) => *more += 1,
            None => self.damage = Some((error.to_string(), 0)),
        }
    }
}

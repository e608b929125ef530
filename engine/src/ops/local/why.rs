//! `why`: which names keep an extent alive, and where in them it is.
//!
//! An answer is a name with a path: for a branch or tag a path in the newest of its commits that holds the extent, and
//! how many of its commits do. Paths are counted in the graph; only those that are listed are spelled out by reading
//! nodes, so an extent that a million trees share costs no more than one.

use std::collections::HashMap;

use super::graph::{Graph, Marks, Vertex};
use super::open::Engine;
use crate::error::{Error, Result};
use crate::format::node::{EntryKind, NodeView, XattrView};
use crate::format::{ContentId, Kind};
use crate::ops::{ByteString, Exchange, Keeper, KeeperKind, Kept, WhyRequest};
use crate::store::{Key, Root, RootKind};
use crate::trees::fs::Workspace;
use crate::trees::{content_kind, root_starts};

/// Fewest digits of an abbreviated id.
const PREFIX_DIGITS_MIN: usize = 4;
/// Candidates that an ambiguity error lists.
const CANDIDATES_MAX: usize = 8;
/// Kinds of extents that can be asked for by id.
const KINDS: [Kind; 4] = [Kind::Data, Kind::Manifest, Kind::Node, Kind::Commit];

impl Engine {
    pub fn why(&self, request: &WhyRequest, exchange: &dyn Exchange) -> Result<Kept> {
        let named = self.named(&request.what)?;
        let roots = self.all_roots();
        let graph = Graph::of(self, &roots, exchange)?;
        let key = match named {
            Some(key) => key,
            None => self.with_prefix(&graph, &request.what)?,
        };
        let mut kept = Kept {
            id: key.id,
            kind: key.kind.to_string(),
            bytes: self.store.length(key).unwrap_or(0).into(),
            keepers: Vec::new(),
            more: 0,
        };
        let Some(target) = graph.find(&key) else {
            // Somewhere in what can't be read it may be kept yet.
            graph.check()?;
            return Ok(kept);
        };
        let mut ways = Ways::new(self, &graph, target);
        let mut sorted: Vec<&Root> = roots.iter().collect();
        sorted.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
        for root in sorted {
            if exchange.cancel().is_cancelled() {
                return Err(Error::Cancelled);
            }
            let room = request.limit.saturating_sub(kept.keepers.len() as u64);
            let (some, count) = ways.from(root, room)?;
            kept.more += count - some.len() as u64;
            kept.keepers.extend(some);
        }
        Ok(kept)
    }

    /// The extent that a revision, a path in one or a whole id names; nothing if it can only be the beginning of an id.
    fn named(&self, what: &ByteString) -> Result<Option<Key>> {
        let key = |kind, id| Key {
            domain: self.trees.domain(),
            kind,
            id,
        };
        let text = std::str::from_utf8(what.as_bytes()).unwrap_or_default();
        let hexadecimal = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let name = self.trees.branch(text).is_ok() || self.trees.tag(text).is_ok();
        if hexadecimal && !name {
            let Ok(id) = text.parse::<ContentId>() else {
                return Ok(None);
            };
            let keys = KINDS.map(|kind| key(kind, id));
            let stored = keys.into_iter().zip(self.store.contains(&keys));
            let found = stored.filter_map(|(key, found)| found.then_some(key)).next_back();
            return match found {
                Some(key) => Ok(Some(key)),
                None => Err(Error::not_found(format!("content, tree node or commit {id}"))),
            };
        }
        let resolved = self.resolve(what)?;
        if resolved.path.is_none() {
            return Ok(Some(key(Kind::Commit, resolved.commit)));
        }
        let entry = self.entry(&resolved)?;
        match entry.kind {
            EntryKind::Directory => Ok(Some(key(Kind::Node, entry.id))),
            EntryKind::File | EntryKind::Symlink => Ok(Some(key(content_kind(entry.size), entry.id))),
            _ => Err(Error::invalid(
                format!("`{what}`"),
                "it has no content: its directory says all there is",
            )),
        }
    }

    /// The one extent in the graph whose id begins like this.
    fn with_prefix(&self, graph: &Graph<'_>, what: &ByteString) -> Result<Key> {
        let digits = what.to_string().to_ascii_lowercase();
        if digits.len() < PREFIX_DIGITS_MIN {
            return Err(Error::not_found(format!(
                "branch or tag `{digits}` (an abbreviated id has at least {PREFIX_DIGITS_MIN} digits)"
            )));
        }
        let mut found: Vec<Key> = graph
            .keys()
            .map(|(key, _)| *key)
            .filter(|key| key.id.to_string().starts_with(&digits))
            .collect();
        found.sort_by_key(|key| (key.id, key.kind as u8));
        // A content and its chunk list share an id; the list is what names refer to.
        found.reverse();
        found.dedup_by_key(|key| key.id);
        match &found[..] {
            [] => Err(Error::not_found(format!(
                "anything that is kept alive with an id that begins with {digits} (for the rest, give the whole id)"
            ))),
            [key] => Ok(*key),
            many => {
                let shown = many.iter().take(CANDIDATES_MAX);
                let length = digits.len().max(12) + 4;
                let mut candidates: Vec<String> = shown
                    .map(|key| format!("{} {}", key.kind, &key.id.to_string()[..length.min(64)]))
                    .collect();
                if many.len() > CANDIDATES_MAX {
                    candidates.push(format!("{} others", many.len() - CANDIDATES_MAX));
                }
                Err(Error::Ambiguous {
                    what: format!("id {digits}..."),
                    candidates: candidates.join(", "),
                })
            }
        }
    }
}

/// The ways to one extent.
struct Ways<'a> {
    engine: &'a Engine,
    graph: &'a Graph<'a>,
    target: Vertex,
    /// How many paths lead from an extent to the target, parents of commits left out; absent: none.
    paths: HashMap<Vertex, u64>,
    /// Ids of the extents with a path.
    ids: HashMap<Vertex, Key>,
    marks: Marks,
}

impl<'a> Ways<'a> {
    fn new(engine: &'a Engine, graph: &'a Graph<'a>, target: Vertex) -> Ways<'a> {
        let paths = count_paths(graph, target);
        let on_a_way = graph.keys().filter(|(_, vertex)| paths.contains_key(vertex));
        let ids = on_a_way.map(|(key, vertex)| (vertex, *key)).collect();
        Ways {
            engine,
            graph,
            target,
            paths,
            ids,
            marks: Marks::default(),
        }
    }

    /// Answers for one root, at most `room` of them, and how many there are.
    fn from(&mut self, root: &Root, room: u64) -> Result<(Vec<Keeper>, u64)> {
        let graph = self.graph;
        if !matches!(root.kind, RootKind::Branch | RootKind::Tag) {
            let starts = root_starts(root)?;
            let held = starts.iter().any(|start| {
                let key = Key {
                    domain: root.domain,
                    kind: start.kind,
                    id: start.id,
                };
                graph
                    .find(&key)
                    .is_some_and(|vertex| self.paths.contains_key(&vertex))
            });
            let keeper = (held && room > 0).then(|| keeper(root, None, 0, None));
            return Ok((keeper.into_iter().collect(), held.into()));
        }
        let mut newest: Option<(u64, Vertex)> = None;
        let mut commits = 0;
        self.marks.begin(graph);
        let paths = &self.paths;
        graph.walk([root], &mut self.marks, |vertex| {
            let commit = graph.kind(vertex) == Kind::Commit;
            if commit && paths.contains_key(&vertex) {
                commits += 1;
                newest = newest.max(Some((graph.made_ns(vertex), vertex)));
            }
            commit
        })?;
        let Some((_, commit)) = newest else {
            return Ok((Vec::new(), 0));
        };
        let count = self.paths[&commit];
        let id = self.ids[&commit].id;
        let spelled = self.spell(commit, room)?;
        let keepers = spelled
            .into_iter()
            .map(|path| keeper(root, Some(id), commits, path));
        Ok((keepers.collect(), count))
    }

    /// The first paths from a commit to the target; an absent one if it is the commit itself.
    fn spell(&self, commit: Vertex, room: u64) -> Result<Vec<Option<ByteString>>> {
        let mut spelled = Vec::new();
        if commit == self.target && room > 0 {
            spelled.push(None);
        }
        let graph = self.graph;
        let below = |vertex: Vertex| {
            let on_a_way = graph.references(vertex).iter().copied();
            on_a_way.filter(|child| graph.kind(*child) != Kind::Commit && self.paths.contains_key(child))
        };
        // The next path is at the end.
        let mut waiting: Vec<(Vertex, Vec<u8>)> = below(commit).map(|child| (child, Vec::new())).collect();
        while let Some((vertex, path)) = waiting.pop() {
            if spelled.len() as u64 >= room {
                break;
            }
            if vertex == self.target || graph.kind(vertex) == Kind::Manifest {
                let path = if path.is_empty() { &b"."[..] } else { &path };
                spelled.push(Some(ByteString::from(path)));
                continue;
            }
            let mut next = self.entries(vertex, &path)?;
            next.reverse();
            waiting.append(&mut next);
        }
        Ok(spelled)
    }

    /// What a node refers to that has a way to the target, with paths, in order of names.
    fn entries(&self, node: Vertex, path: &[u8]) -> Result<Vec<(Vertex, Vec<u8>)>> {
        let key = self.ids[&node];
        let store = &self.engine.store;
        let bytes = store.block_on(store.get(key))?;
        let malformed = |damage: crate::format::node::NodeDamage| {
            Error::invalid(format!("tree node {}", key.id), damage.to_string())
        };
        let mut found = Vec::new();
        let mut refer = |kind: Kind, id: ContentId, path: Vec<u8>| {
            let child = self.graph.find(&Key { kind, id, ..key });
            if let Some(child) = child.filter(|child| self.paths.contains_key(child)) {
                found.push((child, path));
            }
        };
        match NodeView::decode(&bytes).map_err(malformed)? {
            NodeView::Inner(inner) => {
                for record in inner.records() {
                    refer(Kind::Node, record.id, path.to_vec());
                }
            }
            NodeView::Leaf(leaf) => {
                for (index, record) in leaf.records().iter().enumerate() {
                    let mut entry = path.to_vec();
                    if !entry.is_empty() {
                        entry.push(b'/');
                    }
                    entry.extend_from_slice(leaf.name(index));
                    if let XattrView::Far { id, .. } = leaf.attributes(index).map_err(malformed)?.xattrs {
                        refer(Kind::Data, id, entry.clone());
                    }
                    match EntryKind::from_byte(record.kind) {
                        Some(EntryKind::Directory) => refer(Kind::Node, record.id, entry),
                        Some(kind) if kind.has_content() => {
                            refer(content_kind(record.size.get()), record.id, entry);
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(found)
    }
}

/// How many paths lead to `target` from each extent that has any, by way of directories. A large content counts once,
/// however often it has a chunk.
fn count_paths(graph: &Graph<'_>, target: Vertex) -> HashMap<Vertex, u64> {
    let parents = Parents::of(graph);
    // Everything above the target, with how many of its references lead there.
    let mut open: HashMap<Vertex, usize> = HashMap::new();
    let mut waiting = vec![target];
    while let Some(vertex) = waiting.pop() {
        for parent in parents.of_vertex(vertex) {
            let references = open.entry(*parent).or_insert(0);
            if *references == 0 {
                waiting.push(*parent);
            }
            *references += 1;
        }
    }
    // The number of an extent is known when those of all its references are.
    let mut paths: HashMap<Vertex, u64> = HashMap::from([(target, 1)]);
    let mut known = vec![target];
    while let Some(vertex) = known.pop() {
        let count = paths[&vertex];
        for parent in parents.of_vertex(vertex) {
            let sum = paths.entry(*parent).or_insert(0);
            *sum = match graph.kind(*parent) {
                Kind::Manifest => 1,
                _ => sum.saturating_add(count),
            };
            if let Some(left) = open.get_mut(parent) {
                *left -= 1;
                if *left == 0 {
                    known.push(*parent);
                }
            }
        }
    }
    paths
}

/// Which extents refer to each, as often as they do; commits that have a commit as parent are left out.
struct Parents {
    /// Where the list of each extent ends; it begins where the one before ends.
    ends: Vec<usize>,
    parents: Vec<Vertex>,
}

impl Parents {
    fn of(graph: &Graph<'_>) -> Parents {
        let last = Vertex::try_from(graph.len()).expect("extents are numbered with 32 bits");
        let references = |parent| {
            let commit = graph.kind(parent) == Kind::Commit;
            let children = graph.references(parent).iter().copied();
            let children = children.filter(move |child| !commit || graph.kind(*child) != Kind::Commit);
            children.map(|child| child as usize)
        };
        // Counting sort: first how many each has, then where the lists begin, then the lists.
        let mut ends = vec![0; graph.len()];
        for child in (0..last).flat_map(references) {
            ends[child] += 1;
        }
        let mut sum = 0;
        for end in &mut ends {
            (sum, *end) = (sum + *end, sum);
        }
        let mut parents = vec![0; sum];
        for parent in 0..last {
            for child in references(parent) {
                parents[ends[child]] = parent;
                ends[child] += 1;
            }
        }
        Parents { ends, parents }
    }

    fn of_vertex(&self, vertex: Vertex) -> &[Vertex] {
        let vertex = vertex as usize;
        let begin = vertex.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.parents[begin..self.ends[vertex]]
    }
}

fn keeper(root: &Root, commit: Option<ContentId>, commits: u64, path: Option<ByteString>) -> Keeper {
    let name = ByteString::from(&root.name[..]);
    let (kind, name) = match (root.kind, root.target) {
        (RootKind::Branch, _) => (KeeperKind::Branch, name),
        (RootKind::Tag, _) => (KeeperKind::Tag, name),
        (RootKind::Workspace, _) => {
            let directory = Workspace::decode(root).map(|workspace| ByteString::from(workspace.path));
            (KeeperKind::Workspace, directory.unwrap_or(name))
        }
        (_, Some(target)) => (KeeperKind::Pin, ByteString::from(target.id.to_string())),
        (_, None) => (KeeperKind::Pin, name),
    };
    Keeper {
        kind,
        name,
        commit,
        commits,
        path,
    }
}

//! Random operations on a working tree against a plain map.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::reactor::block_on;
use crate::trees::testing::{Plan, directory, file, trees};
use crate::trees::{CommitOptions, TreePath};

/// What a path is in the model.
#[derive(Debug, Clone, PartialEq)]
enum Thing {
    File(Bytes, u16),
    Link(Bytes),
    Directory(u16),
}

#[derive(Debug, Clone)]
enum Operation {
    Write(String, u8),
    MakeDirectory(String),
    Link(String),
    Remove(String),
    Rename(String, String),
    Mode(String, u16),
    Commit,
    Reset,
    Reopen,
    Fork,
    Release(usize),
}

fn path() -> impl Strategy<Value = String> {
    let numbered = (0..70u8).prop_map(|n| format!("n{n:02}"));
    let name = prop_oneof![5 => numbered, 1 => "[a-c]", 1 => "[a-z]{1,2}"].boxed();
    // Mostly one level, so that directories come to have several nodes.
    let depth = prop_oneof![4 => Just(1usize), 2 => Just(2), 1 => Just(3)];
    depth
        .prop_flat_map(move |depth| proptest::collection::vec(name.clone(), depth))
        .prop_map(|names| names.join("/"))
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        12 => (path(), 0..3u8).prop_map(|(path, content)| Operation::Write(path, content)),
        5 => path().prop_map(Operation::MakeDirectory),
        5 => "[a-c]".prop_map(Operation::MakeDirectory),
        1 => path().prop_map(Operation::Link),
        4 => path().prop_map(Operation::Remove),
        5 => (path(), path()).prop_map(|(from, to)| Operation::Rename(from, to)),
        2 => ("[a-c]", path()).prop_map(|(from, to)| Operation::Rename(from, to)),
        2 => (path(), 0..0o1000u16).prop_map(|(path, mode)| Operation::Mode(path, mode)),
        2 => Just(Operation::Commit),
        1 => Just(Operation::Reset),
        1 => Just(Operation::Reopen),
        1 => Just(Operation::Fork),
        4 => prop_oneof![Just(0usize), 1_000..40_000usize].prop_map(Operation::Release),
    ]
}

/// The tree as a plain map; every operation says whether it can be done.
#[derive(Debug, Clone, Default)]
struct Model(BTreeMap<TreePath, Thing>);

impl Model {
    fn has_place(&self, path: &TreePath) -> bool {
        let above = path.parent().unwrap();
        above.is_root() || matches!(self.0.get(&above), Some(Thing::Directory(_)))
    }

    fn apply(&mut self, operation: &Operation) -> bool {
        let at = |path: &str| TreePath::new(path).unwrap();
        match operation {
            Operation::Write(path, content) => {
                let path = at(path);
                let bytes = Bytes::from(vec![b'x'; usize::from(*content) * 10]);
                let has_place = self.has_place(&path);
                match self.0.get_mut(&path) {
                    Some(Thing::File(old, _)) => *old = bytes,
                    None if has_place => {
                        self.0.insert(path, Thing::File(bytes, 0o644));
                    }
                    _ => return false,
                }
            }
            Operation::MakeDirectory(path) => {
                let path = at(path);
                if self.0.contains_key(&path) || !self.has_place(&path) {
                    return false;
                }
                self.0.insert(path, Thing::Directory(0o755));
            }
            Operation::Link(path) => {
                let path = at(path);
                if self.0.contains_key(&path) || !self.has_place(&path) {
                    return false;
                }
                self.0.insert(path, Thing::Link(Bytes::from_static(b"../target")));
            }
            Operation::Remove(path) => {
                let path = at(path);
                if !self.0.contains_key(&path) {
                    return false;
                }
                self.0.retain(|inner, _| !path.contains(inner));
            }
            Operation::Rename(from, to) => {
                let (from, to) = (at(from), at(to));
                let Some(moved) = self.0.get(&from) else {
                    return false;
                };
                if !self.has_place(&to) {
                    return false;
                }
                if from == to {
                    return true;
                }
                let whole = matches!(moved, Thing::Directory(_));
                if whole && from.contains(&to) {
                    return false;
                }
                match self.0.get(&to) {
                    Some(Thing::Directory(_)) => return false,
                    Some(_) if whole => return false,
                    _ => {}
                }
                let inside: Vec<TreePath> = self
                    .0
                    .keys()
                    .filter(|path| from.contains(path))
                    .cloned()
                    .collect();
                for path in inside {
                    let thing = self.0.remove(&path).unwrap();
                    let rest = &path.as_bytes()[from.as_bytes().len()..];
                    let new = TreePath::new([to.as_bytes(), rest].concat()).unwrap();
                    self.0.insert(new, thing);
                }
            }
            Operation::Mode(path, mode) => match self.0.get_mut(&at(path)) {
                Some(Thing::File(_, old) | Thing::Directory(old)) => *old = *mode,
                _ => return false,
            },
            Operation::Commit
            | Operation::Reset
            | Operation::Reopen
            | Operation::Fork
            | Operation::Release(_) => {}
        }
        true
    }

    /// The id and size that building the tree from nothing gives.
    fn built(&self) -> (ContentId, TreeCounts) {
        let mut plan = Plan {
            entries: BTreeMap::new(),
            contents: Vec::new(),
        };
        for (path, thing) in &self.0 {
            let mut entry = match thing {
                Thing::File(bytes, _) | Thing::Link(bytes) => file(b"", bytes),
                Thing::Directory(_) => directory(b"", ContentId([0; 32])),
            };
            match thing {
                Thing::File(_, mode) | Thing::Directory(mode) => entry.mode = *mode,
                Thing::Link(_) => (entry.kind, entry.mode) = (EntryKind::Symlink, 0o777),
            }
            plan.entries.insert(path.clone(), entry);
        }
        let (root, counts, _) = plan.build();
        (root.id, counts)
    }
}

async fn run(tree: &mut WorkingTree, operation: &Operation) -> Result<()> {
    match operation {
        Operation::Write(path, content) => tree.write(path, vec![b'x'; usize::from(*content) * 10]).await,
        Operation::MakeDirectory(path) => tree.create_directory(path).await,
        Operation::Link(path) => tree.symlink(path, &b"../target"[..]).await,
        Operation::Remove(path) => tree.remove(path).await,
        Operation::Rename(from, to) => tree.rename(from, to).await,
        Operation::Mode(path, mode) => match tree.stat(path).await?.entry.kind {
            EntryKind::Symlink => Err(Error::invalid("link", "the model has no mode for it")),
            _ => tree.set_mode(path, *mode).await,
        },
        Operation::Commit => tree.commit("").await.map(|_| ()),
        Operation::Reset => tree.reset().await,
        Operation::Release(keep_bytes) => {
            tree.release(*keep_bytes);
            Ok(())
        }
        Operation::Reopen | Operation::Fork => Ok(()),
    }
}

/// Everything in a tree, by going through its listings.
async fn everything(tree: &mut WorkingTree) -> BTreeMap<TreePath, Thing> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![TreePath::root()];
    while let Some(directory) = waiting.pop() {
        let listed = tree.list(&directory).await.unwrap();
        assert!(listed.is_sorted_by(|a, b| a.entry.name < b.entry.name));
        assert_eq!(tree.count_entries(&directory).await.unwrap(), listed.len() as u64);
        for Stat { entry, .. } in listed {
            let path = directory.join(&entry.name);
            let thing = match entry.kind {
                EntryKind::Directory => {
                    waiting.push(path.clone());
                    Thing::Directory(entry.mode)
                }
                EntryKind::Symlink => Thing::Link(tree.read(&path).await.unwrap()),
                _ => Thing::File(tree.read(&path).await.unwrap(), entry.mode),
            };
            if let Thing::File(bytes, _) | Thing::Link(bytes) = &thing {
                assert_eq!(bytes.len() as u64, entry.size);
            }
            assert_eq!(tree.stat(&path).await.unwrap().entry, entry);
            found.insert(path, thing);
        }
    }
    found
}

fn options(pending_bytes_max: usize) -> WorkingOptions {
    WorkingOptions {
        times: false,
        pending_bytes_max,
        ..WorkingOptions::default()
    }
}

async fn follow(operations: Vec<Operation>, pending_bytes_max: usize) {
    let trees = trees();
    let mut tree = trees.open_new("main", options(pending_bytes_max)).unwrap();
    let always = CommitOptions {
        allow_unchanged: true,
        ..CommitOptions::default()
    };
    tree.commit_with(&always).await.unwrap();
    let (mut model, mut committed) = (Model::default(), Model::default());
    for (number, operation) in operations.iter().enumerate() {
        match operation {
            Operation::Reset => model = committed.clone(),
            Operation::Reopen => {
                let branch = tree.branch().unwrap().to_owned();
                tree = trees
                    .open_branch(&branch, options(pending_bytes_max))
                    .await
                    .unwrap();
                model = committed.clone();
            }
            Operation::Fork => {
                let fork = tree.fork(&format!("fork-{number}")).await.unwrap();
                // The original must not notice what happens to the fork, nor the other way round.
                tree.create_directories("only/in/the/original").await.unwrap();
                tree = fork;
            }
            _ => {}
        }
        let possible = model.apply(operation);
        let done = run(&mut tree, operation).await;
        assert_eq!(done.is_ok(), possible, "{operation:?}: {done:?}");
        tree.check_memory();
        if let Operation::Commit = operation {
            committed = model.clone();
            let (id, counts) = model.built();
            assert_eq!(trees.read_commit(tree.base().unwrap()).await.unwrap().root.id, id);
            assert_eq!(tree.counts(), counts);
            assert!(!tree.is_dirty());
        }
    }
    assert_eq!(everything(&mut tree).await, model.0);
    tree.commit("last").await.unwrap();
    let (id, counts) = model.built();
    let last = trees.read_commit(tree.base().unwrap()).await.unwrap();
    assert_eq!((last.root.id, last.counts), (id, counts));
    assert_eq!(tree.pending_bytes, 0);
    assert_eq!(everything(&mut tree).await, model.0);
    let branch = tree.branch().unwrap().to_owned();
    let mut again = trees
        .open_branch(&branch, options(pending_bytes_max))
        .await
        .unwrap();
    assert_eq!(everything(&mut again).await, model.0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Goal: a working tree does what a map of paths does, and each of its commits has the id that building the same
    /// tree from nothing has, whatever it has let go of meanwhile. Method: random operations and releases, with contents
    /// kept until the commit; what it counts of its memory is counted again after each.
    #[test]
    fn a_working_tree_is_a_map(operations in proptest::collection::vec(operation(), 0..300)) {
        block_on(follow(operations, usize::MAX));
    }

    /// Goal: the same when contents go to the store ahead of the commit. Method: room for hardly any.
    #[test]
    fn a_spilling_working_tree_is_a_map(operations in proptest::collection::vec(operation(), 0..60)) {
        block_on(follow(operations, 25));
    }
}

/// Goal: contents stay with their names when a directory is loaded after a later name of the same node was written, and
/// is then replaced by a file. Method: the least operations that once gave each of two files the other one's content.
#[test]
fn a_directory_loaded_late_moves_no_contents() {
    let path = |path: &str| path.to_owned();
    let operations = vec![
        Operation::Write(path("n04"), 0),
        Operation::MakeDirectory(path("b")),
        Operation::Commit,
        Operation::Reset,
        Operation::Write(path("n04"), 0),
        Operation::Write(path("b/n00"), 0),
        Operation::Remove(path("b")),
        Operation::Write(path("b"), 1),
    ];
    block_on(follow(operations, usize::MAX));
}

/// Goal: large directories keep their one shape through many small commits. Method: 3,000 names in, out and over, some at
/// a time, by a fixed rule; the id after each commit is compared with building from nothing.
#[test]
fn large_directories_keep_their_shape() {
    block_on(async {
        let trees = trees();
        let mut tree = trees.open_new("main", options(usize::MAX)).unwrap();
        let mut model = Model::default();
        for round in 0..24u64 {
            for step in 0..250u64 {
                let number = (round * 250 + step).wrapping_mul(2_654_435_761) % 3_000;
                let path = format!("f{number:05}");
                let operation = match (round + step) % 5 {
                    0 | 1 if round > 3 => Operation::Remove(path),
                    _ => Operation::Write(path, (round % 3) as u8),
                };
                let possible = model.apply(&operation);
                assert_eq!(run(&mut tree, &operation).await.is_ok(), possible);
            }
            tree.commit("").await.unwrap();
            let (id, counts) = model.built();
            assert_eq!((tree.root.id, tree.counts()), (id, counts), "round {round}");
            if round % 5 == 4 {
                tree = trees.open_branch("main", options(usize::MAX)).await.unwrap();
            }
        }
    });
}

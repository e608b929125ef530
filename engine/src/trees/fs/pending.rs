//! What of a tree is still to be written.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use parking_lot::Mutex;

use super::folder::Folder;
use crate::trees::Entry;

/// A directory being written.
pub(super) struct Node {
    pub(super) parent: Option<Arc<Node>>,
    pub(super) entry: Entry,
    /// Its folder once it has been made; directories that only lead to what is included are made when needed.
    pub(super) folder: Mutex<Option<Arc<Folder>>>,
    /// Everything in it is wanted.
    pub(super) included: bool,
    /// What has to be done before it is complete.
    pub(super) pending: AtomicUsize,
}

impl Drop for Node {
    fn drop(&mut self) {
        // One by one instead of by recursion: the chain is as long as the tree is deep.
        let mut next = self.parent.take();
        while let Some(mut parent) = next.and_then(Arc::into_inner) {
            next = parent.parent.take();
        }
    }
}

impl Node {
    /// The path from the root of the tree.
    pub(super) fn relative(&self, name: &[u8]) -> Vec<u8> {
        let mut names = vec![name];
        let mut at = self;
        while let Some(parent) = &at.parent {
            names.push(&at.entry.name);
            at = parent;
        }
        names.reverse();
        names.join(&b'/')
    }
}

/// A file or link to be written.
pub(super) struct Job {
    pub(super) node: Arc<Node>,
    pub(super) entry: Entry,
}

impl AsRef<Entry> for Job {
    fn as_ref(&self) -> &Entry {
        &self.entry
    }
}

pub(super) enum Task {
    List(Arc<Node>),
    Small(Vec<Job>),
    Large(Job),
}

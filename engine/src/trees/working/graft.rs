//! Putting whole entries of other trees into this one, for merges: attributes, directories with all that is in them.
//!
//! Only what is on the way is loaded. Sizes are the caller's to know, who has compared the trees: here they would have
//! to be counted anew, with everything below.

use bytes::Bytes;

use super::edit::{Content, Pending};
use super::locate::Located;
use super::{Stop, WorkingTree};
use crate::error::Result;
use crate::trees::node::Item;
use crate::trees::path::TreePath;
use crate::trees::{Entry, TreeCounts};

impl WorkingTree {
    /// Makes `path`, whose directory exists, what `item` is, whatever it was; nothing removes it. A directory that gets
    /// the id it has keeps what is in it, changes included. The store must have what `item` refers to.
    ///
    /// # Errors
    /// `NotFound` or `Invalid` if something on the way is missing or no directory; whatever reading nodes answers.
    pub(in crate::trees) async fn graft(&mut self, path: &TreePath, item: Option<&Item>) -> Result<()> {
        while let Err(stop) = self.try_graft(path.as_bytes(), item) {
            self.load(stop).await?;
        }
        Ok(())
    }

    fn try_graft(&mut self, path: &[u8], item: Option<&Item>) -> Result<(), Stop> {
        let located = self.locate(path)?;
        let Located {
            directory,
            name,
            spot,
        } = located;
        let before = spot.and_then(|spot| self.entry(directory, name, spot));
        let mut replaced = before
            .as_ref()
            .map_or(Content::Kept, |before| before.content.clone());
        match item {
            Some(item) => {
                let mut pending = Pending::of_item(item.clone(), Content::Kept);
                if before.is_some_and(|before| before.is_directory() && before.record.id == item.record.id) {
                    pending.content = std::mem::replace(&mut replaced, Content::Kept);
                }
                self.insert(directory, name, pending)?;
            }
            None => self.take_out(&located),
        }
        if let Content::Directory(index) = replaced {
            self.forget(index);
            self.forget_paths();
        }
        Ok(())
    }

    /// Sets the branch that commits go to, the fields of the top directory (which keeps what is in it), and the size of
    /// the tree after all that was grafted.
    pub(in crate::trees) fn graft_top(&mut self, branch: &str, top: Entry, counts: TreeCounts) {
        self.branch = Some(branch.into());
        self.root = Entry {
            name: Bytes::new(),
            id: self.root.id,
            ..top
        };
        self.counts = counts;
    }
}

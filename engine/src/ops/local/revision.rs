//! What a request means by a revision, a branch or a path.

use super::desk::Desk;
use crate::error::{Error, Result};
use crate::format::ContentId;
use crate::ops::ByteString;
use crate::trees::{Entry, EntryKind, Resolved, TreePath};

/// The branch of directories that follow none.
pub(super) const DEFAULT_BRANCH: &str = "main";

impl Desk {
    /// The commit and path that a revision names.
    pub(super) fn resolve(&self, revision: &ByteString) -> Result<Resolved> {
        self.store.block_on(self.trees.resolve(revision.as_bytes()))
    }

    /// The same; without a revision, the branch that `directory` follows.
    pub(super) fn resolve_or_followed(
        &self,
        revision: Option<&ByteString>,
        directory: &ByteString,
    ) -> Result<Resolved> {
        match revision {
            Some(revision) => self.resolve(revision),
            None => self.resolve(&self.followed(directory)?.into()),
        }
    }

    /// A revision where a path makes no sense.
    pub(super) fn resolve_commit(&self, revision: &ByteString) -> Result<ContentId> {
        let resolved = self.resolve(revision)?;
        match resolved.path {
            None => Ok(resolved.commit),
            Some(_) => Err(Error::invalid(
                format!("revision `{revision}`"),
                "a commit is needed here, not a path in one; leave out `:PATH`",
            )),
        }
    }

    /// The entry that `REV:PATH` names; the top directory for `REV`.
    pub(super) fn entry(&self, resolved: &Resolved) -> Result<Entry> {
        let root = TreePath::root();
        let path = resolved.path.as_ref().unwrap_or(&root);
        self.store.block_on(self.trees.entry_at(resolved.commit, path))
    }

    /// The directory that `REV` or `REV:PATH` names.
    pub(super) fn directory(&self, revision: &ByteString) -> Result<(Resolved, Entry)> {
        let resolved = self.resolve(revision)?;
        let entry = self.entry(&resolved)?;
        if entry.kind != EntryKind::Directory {
            return Err(Error::invalid(format!("`{revision}`"), "it is not a directory"));
        }
        Ok((resolved, entry))
    }
}

/// A name of a branch or tag: UTF-8.
pub(super) fn name_text(what: &str, name: &ByteString) -> Result<String> {
    std::str::from_utf8(name.as_bytes())
        .map(str::to_owned)
        .map_err(|_| {
            Error::invalid(
                format!("{what} name {name:?}"),
                "names of branches and tags are UTF-8",
            )
        })
}

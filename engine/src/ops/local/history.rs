//! `log` and `ls`.

use std::collections::HashMap;

use super::open::Engine;
use super::translate::node;
use crate::error::{Error, Result};
use crate::format::ContentId;
use crate::ops::{ByteString, CommitRecord, Exchange, History, ListRequest, Listed, ListedEntry, LogRequest};
use crate::trees::{Ancestors, Entry, EntryKind, TreePath};

/// Link targets read at once.
const TARGETS_AT_ONCE: usize = 1024;

impl Engine {
    pub fn log(&self, request: &LogRequest, exchange: &mut dyn Exchange) -> Result<History> {
        let start = self.resolve_or_followed(request.revision.as_ref(), &request.directory)?;
        let since_ns = request.since_ns.unwrap_or(0);
        let mut log = self
            .trees
            .log(start.commit, Ancestors::First, since_ns)
            .down_to(start.floor_ns)
            .and(&start.kept);
        let limit = request.limit.unwrap_or(u64::MAX);
        let mut commits = Vec::new();
        while (commits.len() as u64) < limit {
            if exchange.cancel().is_cancelled() {
                return Err(Error::Cancelled);
            }
            let Some(logged) = self.store.block_on(log.next())? else {
                break;
            };
            commits.push(CommitRecord {
                commit: logged.id,
                tree: logged.commit.root.id,
                parents: logged.commit.parents,
                time_ns: logged.commit.time_ns,
                author: logged.commit.author,
                message: logged.commit.message,
                replaces: logged.commit.replaces,
            });
        }
        Ok(History { commits })
    }

    pub fn list(&self, request: &ListRequest, exchange: &mut dyn Exchange) -> Result<Listed> {
        let resolved = self.resolve_or_followed(request.revision.as_ref(), &request.directory)?;
        let top = self.entry(&resolved)?;
        let mut found: Vec<(TreePath, Entry)> = Vec::new();
        if top.kind != EntryKind::Directory {
            found.push((TreePath::new(&top.name)?, top));
        } else if request.recursive {
            let mut walk = self.trees.walk(&top)?;
            while let Some(next) = self.store.block_on(walk.next())? {
                if exchange.cancel().is_cancelled() {
                    return Err(Error::Cancelled);
                }
                found.push(next);
            }
        } else {
            for entry in self.store.block_on(self.trees.list(&top))? {
                found.push((TreePath::root().join(&entry.name), entry));
            }
        }
        let targets = self.targets(&found)?;
        let entries = found
            .iter()
            .map(|(path, entry)| ListedEntry {
                path: path.as_bytes().into(),
                node: node(entry),
                target: match entry.kind {
                    EntryKind::Symlink => targets.get(&entry.id).cloned(),
                    _ => None,
                },
            })
            .collect();
        Ok(Listed {
            commit: resolved.commit,
            entries,
        })
    }

    /// Where the symbolic links among `found` point.
    fn targets(&self, found: &[(TreePath, Entry)]) -> Result<HashMap<ContentId, ByteString>> {
        let links = found.iter().filter(|(_, entry)| entry.kind == EntryKind::Symlink);
        let ids: Vec<ContentId> = links.map(|(_, entry)| entry.id).collect();
        let mut targets = HashMap::new();
        for ids in ids.chunks(TARGETS_AT_ONCE) {
            let contents = self.objects.blocking().get_batch(ids);
            for (id, content) in ids.iter().zip(contents) {
                targets.insert(*id, content?[..].into());
            }
        }
        Ok(targets)
    }
}

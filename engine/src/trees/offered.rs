//! What is checked of extents and names that another process offers, before the store keeps any of it.
//!
//! The layers above the store make extents from what they have read, and roots from what they have made; nothing looks at these
//! again until they are read. A client of a server makes them elsewhere, and may be wrong or mean harm. So its extents have to
//! be what their ids say, make sense as what they are, and refer to nothing that the store lacks; and its names have to begin
//! histories that are there. Then everything that walks the store (collection above all, which stops at what it cannot read)
//! finds what it would find had this process made it.
//! What is not checked: that the pieces a root manifest lists make up the content whose id it has. That takes reading all of
//! them, and who reads the whole content does: such a content is an error then, never wrong bytes.

use bytes::Bytes;

use super::liveness::{commit_parents, extent_references, root_starts};
use super::{Trees, branches, names};
use crate::error::{Error, Result};
use crate::format::manifest::{Manifest, Role};
use crate::format::{ContentId, Domain, Kind, RootId};
use crate::store::{self, Extent, Key, Root, RootChange, RootKind, RootUpdate, Target};

/// Checks extents: their ids, their form. Appends what they refer to, and the parents of commits.
///
/// # Errors
/// `Invalid`, with the first that is not what it says.
pub fn check_offered(extents: &[Extent], references: &mut Vec<Key>) -> Result<()> {
    let mut found = Vec::new();
    for (extent, is_true) in extents.iter().zip(store::verify(extents)) {
        let Extent { key, bytes } = extent;
        let wrong = |reason: String| Error::invalid(format!("{} {}", key.kind, key.id), reason);
        extent.check()?;
        if !is_true {
            return Err(wrong("its bytes have another id".into()));
        }
        let mut refer = |kind, id| {
            references.push(Key {
                domain: key.domain,
                kind,
                id,
            });
        };
        match key.kind {
            Kind::Data => continue,
            Kind::Manifest => check_manifest(key.id, bytes).map_err(wrong)?,
            Kind::Commit => {
                let parents = commit_parents(bytes, 0).map_err(|error| wrong(error.to_string()))?;
                parents.into_iter().for_each(|id| refer(Kind::Commit, id));
            }
            Kind::Node => {}
            Kind::VolumeNode | Kind::Root => return Err(wrong("this kind is not offered".into())),
        }
        found.clear();
        extent_references(key.kind, bytes, &mut found).map_err(|error| wrong(error.to_string()))?;
        found.drain(..).for_each(|(kind, id)| refer(kind, id));
    }
    Ok(())
}

/// The id of a part is that of its bytes; a root says whose it is.
fn check_manifest(id: ContentId, bytes: &Bytes) -> Result<(), String> {
    let (role, _) = Manifest::decode_any(bytes.clone()).map_err(|damage| damage.to_string())?;
    match role {
        Role::Part => Manifest::decode_part(bytes.clone(), id),
        Role::Root(_) => Manifest::decode_root(bytes.clone(), id),
    }
    .map(|_| ())
    .map_err(|damage| damage.to_string())
}

impl Trees {
    /// Checks a change of a root: only branches and directories' records are set this way. `parents` are those of the commit
    /// that a branch is to be at. Answers what the root names besides what it names already.
    ///
    /// # Errors
    /// `Invalid` if it is another kind of change, or its record makes no sense; whatever reading histories answers.
    pub async fn check_offered_root(
        &self,
        update: &RootUpdate,
        domain: Domain,
        parents: &[ContentId],
    ) -> Result<Vec<Key>> {
        let shown = String::from_utf8_lossy(&update.name).into_owned();
        let wrong = |reason: &str| Error::invalid(format!("{:?} {shown}", update.kind), reason);
        let (target, data) = match &update.change {
            RootChange::Set { target, data } => (*target, data),
            RootChange::Delete if update.kind == RootKind::Workspace => return Ok(Vec::new()),
            _ => return Err(wrong("this change is not offered")),
        };
        let key = |kind, id| Key { domain, kind, id };
        match (update.kind, target) {
            (RootKind::Workspace, None) => Ok(Vec::new()),
            (
                RootKind::Workspace,
                Some(Target {
                    kind: kind @ (Kind::Data | Kind::Manifest),
                    id,
                }),
            ) => Ok(vec![key(kind, id)]),
            (
                RootKind::Branch,
                Some(Target {
                    kind: Kind::Commit,
                    id,
                }),
            ) => {
                let name = std::str::from_utf8(&update.name).map_err(|_| wrong("the name is not UTF-8"))?;
                names::check("branch", name)?;
                let root = Root {
                    id: RootId(0),
                    kind: update.kind,
                    name: update.name.clone(),
                    domain,
                    sequence: 0,
                    target,
                    data: data.clone(),
                    changed_ns: 0,
                };
                let present = self.store.root(update.kind, &update.name)?;
                let known = present.as_ref().map(root_starts).transpose()?.unwrap_or_default();
                let offered = branches::data_of(&root)?;
                let lowest_ns = self.floor_of_all(parents, Some(name)).await?;
                if offered.floor_ns < lowest_ns && !parents.is_empty() {
                    return Err(wrong("its history would go back to commits that were forgotten"));
                }
                for jump in &offered.jumps {
                    let floor_ns = jump.floor_ns.get();
                    let is_known = known
                        .iter()
                        .any(|start| start.id == jump.old_head && start.floor_ns <= floor_ns);
                    if !is_known && floor_ns < self.floor_of(jump.old_head, Some(name)).await? {
                        return Err(wrong(
                            "an earlier head would go back to commits that were forgotten",
                        ));
                    }
                }
                let starts = root_starts(&root)?.into_iter();
                let new =
                    starts.filter(|start| start.id == id || !known.iter().any(|known| known.id == start.id));
                Ok(new.map(|start| key(start.kind, start.id)).collect())
            }
            _ => Err(wrong("this kind of root is not offered")),
        }
    }

    /// Forgets what has been added up for quotas: a commit was made that did not go through this handle.
    pub fn forget_sums(&self) {
        self.quotas.forget();
    }
}

#[cfg(test)]
#[path = "offered_tests.rs"]
mod tests;

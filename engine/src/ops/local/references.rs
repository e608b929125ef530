//! `branch` and `tag`.

use super::open::Engine;
use super::revision::name_text;
use crate::access::Ack;
use crate::error::Result;
use crate::format::ContentId;
use crate::limits::BRANCHES_AT_ONCE_MAX;
use crate::ops::{BranchRequest, ByteString, Reference, References, TagRequest};
use crate::trees::{self, ExpectHead};

impl Engine {
    pub fn branch(&self, request: BranchRequest) -> Result<References> {
        let (references, acks) = match request {
            BranchRequest::List => (self.trees.branches()?, Vec::new()),
            BranchRequest::Create {
                name,
                revision,
                directory,
                count,
                force,
                expires_ns,
            } => {
                let name = name_text("branch", &name)?;
                let only_expiry = revision.is_none() && count.is_none() && !force;
                if let (Some(expires_ns), true) = (expires_ns, only_expiry)
                    && self.trees.branch(&name).is_ok()
                {
                    let ack = self.store.block_on(self.trees.set_expiry(&name, expires_ns))?;
                    let changed = self.branches_named(&[name])?;
                    return self.finish(changed, &[ack]);
                }
                let commit = self.resolve_or_followed(revision.as_ref(), &directory)?.commit;
                let (names, acks) = match count {
                    None => (
                        vec![name.clone()],
                        self.set_branch(&name, commit, force, expires_ns)?,
                    ),
                    Some(count) => {
                        self.make_branches(&numbered(name), count.into(), commit, force, expires_ns)?
                    }
                };
                (self.branches_named(&names)?, acks)
            }
            BranchRequest::Delete { names } => {
                let names: Vec<String> = names
                    .iter()
                    .map(|name| name_text("branch", name))
                    .collect::<Result<_>>()?;
                let removed = self.branches_named(&names)?;
                let remove = |name: &String| {
                    self.store
                        .block_on(self.trees.delete_branch(name, ExpectHead::Any))
                };
                (removed, names.iter().map(remove).collect::<Result<_>>()?)
            }
            BranchRequest::Rename { from, to } => {
                let (from, to) = (name_text("branch", &from)?, name_text("branch", &to)?);
                let ack = self.store.block_on(self.trees.rename_branch(&from, &to))?;
                (self.branches_named(&[to])?, vec![ack])
            }
        };
        self.finish(references, &acks)
    }

    pub fn tag(&self, request: TagRequest) -> Result<References> {
        let (references, acks) = match request {
            TagRequest::List => (self.trees.tags()?, Vec::new()),
            TagRequest::Create {
                name,
                revision,
                directory,
                force,
            } => {
                let name = name_text("tag", &name)?;
                let commit = self.resolve_or_followed(revision.as_ref(), &directory)?.commit;
                let ack = self.store.block_on(self.trees.create_tag(&name, commit, force))?;
                (vec![self.trees.tag(&name)?], vec![ack])
            }
            TagRequest::Delete { names } => {
                let names: Vec<String> = names
                    .iter()
                    .map(|name| name_text("tag", name))
                    .collect::<Result<_>>()?;
                let removed = names
                    .iter()
                    .map(|name| self.trees.tag(name))
                    .collect::<Result<_>>()?;
                let remove = |name: &String| self.store.block_on(self.trees.delete_tag(name));
                (removed, names.iter().map(remove).collect::<Result<_>>()?)
            }
        };
        self.finish(references, &acks)
    }

    fn set_branch(
        &self,
        name: &str,
        commit: ContentId,
        force: bool,
        expires_ns: Option<u64>,
    ) -> Result<Vec<Ack>> {
        if !force || self.trees.branch(name).is_err() {
            let made = self
                .trees
                .create_branch_until(name, commit, expires_ns.unwrap_or(0));
            return Ok(vec![self.store.block_on(made)?]);
        }
        let moved = self.trees.move_branch(name, commit, ExpectHead::Any);
        let mut acks = vec![self.store.block_on(moved)?];
        if let Some(expires_ns) = expires_ns {
            acks.push(self.store.block_on(self.trees.set_expiry(name, expires_ns))?);
        }
        Ok(acks)
    }

    /// Many branches; in batches where one cannot hold them all, and one by one where some may exist.
    fn make_branches(
        &self,
        pattern: &str,
        count: u64,
        commit: ContentId,
        force: bool,
        expires_ns: Option<u64>,
    ) -> Result<(Vec<String>, Vec<Ack>)> {
        let (mut names, mut acks) = (Vec::new(), Vec::new());
        let mut first = 0;
        while first < count {
            let some = BRANCHES_AT_ONCE_MAX.min(count - first);
            if force {
                for number in first..first + some {
                    let name = pattern.replace("{n}", &number.to_string());
                    acks.append(&mut self.set_branch(&name, commit, true, expires_ns)?);
                    names.push(name);
                }
            } else {
                let expires_ns = expires_ns.unwrap_or(0);
                let made = self
                    .trees
                    .create_branches(pattern, first, some, commit, expires_ns);
                let (made, ack) = self.store.block_on(made)?;
                names.extend(made);
                acks.push(ack);
            }
            first += some;
        }
        Ok((names, acks))
    }

    fn branches_named(&self, names: &[String]) -> Result<Vec<trees::Reference>> {
        names.iter().map(|name| self.trees.branch(name)).collect()
    }

    /// Names survive power loss when the call returns: they are few and cheap, and people rely on them.
    fn finish(&self, references: Vec<trees::Reference>, acks: &[Ack]) -> Result<References> {
        for ack in acks {
            self.store.block_on(ack.durable())?;
        }
        Ok(References {
            references: references.into_iter().map(shown).collect(),
        })
    }
}

/// The pattern of numbered names: `agent` is `agent-{n}`.
fn numbered(name: String) -> String {
    if name.contains("{n}") {
        name
    } else {
        format!("{name}-{{n}}")
    }
}

/// What a reply says of a branch or tag.
pub(super) fn shown(reference: trees::Reference) -> Reference {
    let known = |time_ns: u64| (time_ns != 0).then_some(time_ns);
    Reference {
        name: ByteString::from(reference.name),
        commit: reference.commit,
        changed_ns: reference.changed_ns,
        expires_ns: known(reference.expires_ns),
        history_from_ns: known(reference.floor_ns),
    }
}

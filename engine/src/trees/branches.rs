//! Branches and tags: names of commits, as root records.
//!
//! A branch is a root and nothing else, so making one is O(1) whatever the tree. Its record remembers where the head
//! was before each move that was not a commit on top of it (`format::branch`), so that the head at any time since has
//! an exact answer (`moments`).
//! The record also says how far back the history goes (`liveness`).
//! A change asks for the very state it has read (compare-and-swap). Where the caller named no condition and the change
//! still means the same afterwards (delete, move), a lost race is retried.

use bytes::Bytes;

use super::commit::{ExpectHead, commit_key};
use super::{Trees, names};
use crate::access::{Ack, Batch};
use crate::error::{Error, Result};
use crate::format::branch::BranchData;
use crate::format::{ContentId, Kind};
use crate::limits::BRANCHES_AT_ONCE_MAX;
use crate::store::{Expect, Root, RootChange, RootKind, RootUpdate, Target};

/// Lost races in a row after which a change gives up; each one means that another change of the branch went through.
const RACES_MAX: usize = 16;

/// A branch or tag as it is now.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Reference {
    /// Its name.
    pub name: String,
    /// The commit.
    pub commit: ContentId,
    /// When it was made: nanoseconds since 1970.
    pub created_ns: u64,
    /// When it last moved: nanoseconds since 1970.
    pub changed_ns: u64,
    /// Commits of before this time were forgotten: nanoseconds since 1970; 0: none were.
    pub floor_ns: u64,
    /// When it goes by itself: nanoseconds since 1970; 0: never.
    pub expires_ns: u64,
}

/// What there is to say of a new branch besides its name and commit.
#[derive(Debug, Clone, Copy, Default)]
struct New<'a> {
    /// Time of the commit, where that is known.
    time_ns: Option<u64>,
    /// A branch that is likely to be at the commit.
    near: Option<&'a str>,
    /// When it goes by itself; 0: never.
    expires_ns: u64,
}

/// The root of a branch, and the commit it is at.
#[derive(Debug, Clone)]
pub(super) struct Head {
    pub root: Root,
    pub commit: ContentId,
}

impl Head {
    pub fn data(&self) -> Result<BranchData> {
        data_of(&self.root)
    }
}

impl Trees {
    /// Branch `name`.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn branch(&self, name: &str) -> Result<Reference> {
        reference(&self.existing(RootKind::Branch, name)?)
    }

    /// All branches, by name.
    ///
    /// # Errors
    /// `Invalid` if a record is malformed.
    pub fn branches(&self) -> Result<Vec<Reference>> {
        self.references(RootKind::Branch)
    }

    /// Tag `name`.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn tag(&self, name: &str) -> Result<Reference> {
        reference(&self.existing(RootKind::Tag, name)?)
    }

    /// All tags, by name.
    ///
    /// # Errors
    /// `Invalid` if a record is malformed.
    pub fn tags(&self) -> Result<Vec<Reference>> {
        self.references(RootKind::Tag)
    }

    fn references(&self, kind: RootKind) -> Result<Vec<Reference>> {
        let roots = self
            .store
            .roots(kind)?
            .into_iter()
            .filter(|root| root.domain == self.domain);
        let heads = roots.map(|root| self.head_of(root)).collect::<Result<Vec<_>>>()?;
        heads.iter().map(reference).collect()
    }

    /// Makes branch `name` at `commit`.
    ///
    /// # Errors
    /// `Exists`, `Invalid` for an impossible name, `NotFound` if there is no such commit.
    pub async fn create_branch(&self, name: &str, commit: ContentId) -> Result<Ack> {
        self.create_roots(RootKind::Branch, &[name], commit, New::default())
            .await
    }

    /// The same for a branch that goes by itself at `expires_ns` (nanoseconds since 1970; 0: never).
    ///
    /// # Errors
    /// As [`Trees::create_branch`].
    pub async fn create_branch_until(&self, name: &str, commit: ContentId, expires_ns: u64) -> Result<Ack> {
        let new = New {
            expires_ns,
            ..New::default()
        };
        self.create_roots(RootKind::Branch, &[name], commit, new).await
    }

    /// The same for a commit of that time that is likely to be the head of branch `near`.
    pub(super) async fn create_branch_near(
        &self,
        name: &str,
        commit: ContentId,
        time_ns: u64,
        near: Option<&str>,
    ) -> Result<Ack> {
        let new = New {
            time_ns: Some(time_ns),
            near,
            expires_ns: 0,
        };
        self.create_roots(RootKind::Branch, &[name], commit, new).await
    }

    /// Makes `count` branches at `commit` in one batch: `pattern` with `{n}` replaced by `first`, `first + 1`, ...
    /// They go by themselves at `expires_ns` (0: never). Returns their names. All are made or none.
    ///
    /// # Errors
    /// As [`Trees::create_branch`]; `Invalid` if `pattern` has no `{n}` or one batch cannot hold that many.
    pub async fn create_branches(
        &self,
        pattern: &str,
        first: u64,
        count: u64,
        commit: ContentId,
        expires_ns: u64,
    ) -> Result<(Vec<String>, Ack)> {
        if !pattern.contains("{n}") {
            return Err(Error::invalid(
                format!("branch pattern `{pattern}`"),
                "it needs `{n}` for the number",
            ));
        }
        if count > BRANCHES_AT_ONCE_MAX {
            let reason = format!("at most {BRANCHES_AT_ONCE_MAX} at once; repeat it with other numbers");
            return Err(Error::invalid(format!("{count} branches"), reason));
        }
        let numbers = first..first.saturating_add(count);
        let names: Vec<String> = numbers.map(|n| pattern.replace("{n}", &n.to_string())).collect();
        let ack = self
            .create_roots(
                RootKind::Branch,
                &names,
                commit,
                New {
                    expires_ns,
                    ..New::default()
                },
            )
            .await?;
        Ok((names, ack))
    }

    /// Makes tag `name` at `commit`; `force` moves an existing one.
    ///
    /// # Errors
    /// As [`Trees::create_branch`].
    pub async fn create_tag(&self, name: &str, commit: ContentId, force: bool) -> Result<Ack> {
        if force && self.store.root(RootKind::Tag, name.as_bytes())?.is_some() {
            return self.move_root(RootKind::Tag, name, commit, ExpectHead::Any).await;
        }
        self.create_roots(RootKind::Tag, &[name], commit, New::default())
            .await
    }

    async fn create_roots(
        &self,
        kind: RootKind,
        names: &[impl AsRef<str>],
        commit: ContentId,
        new: New<'_>,
    ) -> Result<Ack> {
        for name in names.iter().map(AsRef::as_ref) {
            names::check(word(kind), name)?;
        }
        let time_ns = match new.time_ns {
            Some(time_ns) => time_ns,
            None => Box::pin(self.read_commit(commit)).await?.time_ns,
        };
        let mut batch = self.batch();
        self.hold_commits(&mut batch, &[commit])?;
        let floor_ns = self.floor_of(commit, new.near).await?;
        let mut data = BranchData::new(self.store.now_ns(), time_ns, floor_ns);
        data.expires_ns = new.expires_ns;
        let data = Bytes::from(data.encode());
        for (name, data) in names.iter().zip(std::iter::repeat_n(data, names.len())) {
            batch.set_root(RootUpdate {
                kind,
                name: name.as_ref().as_bytes().into(),
                expect: Expect::Absent,
                change: RootChange::Set {
                    target: Some(target(commit)),
                    data,
                },
            });
        }
        let taken = |error| {
            let taken = names
                .iter()
                .map(AsRef::as_ref)
                .find(|name| matches!(self.store.root(kind, name.as_bytes()), Ok(Some(_))));
            if is_race(&error) {
                taken.map_or(error, |name| exists(kind, name))
            } else {
                error
            }
        };
        batch.submit().await.map_err(taken)
    }

    /// Moves branch `name` to `commit` and remembers where it was.
    ///
    /// # Errors
    /// `NotFound` if there is no such branch or commit; `Conflict` if the head is not what `expect` says.
    pub async fn move_branch(&self, name: &str, commit: ContentId, expect: ExpectHead) -> Result<Ack> {
        self.move_root(RootKind::Branch, name, commit, expect).await
    }

    async fn move_root(&self, kind: RootKind, name: &str, to: ContentId, expect: ExpectHead) -> Result<Ack> {
        let time_ns = self.read_commit(to).await?.time_ns;
        let lease = self.store.lease();
        lease.hold(commit_key(self.domain, to));
        let floor_ns = self.floor_of(to, None).await?;
        self.change(kind, name, expect, |head, batch| {
            let mut data = head.data()?;
            if head.commit != to {
                match kind {
                    RootKind::Branch => data.jump(self.store.now_ns(), head.commit, time_ns, floor_ns),
                    _ => data.floor_ns = floor_ns,
                }
            }
            self.hold_commits(batch, &[to])?;
            Ok(RootChange::Set {
                target: Some(target(to)),
                data: data.encode().into(),
            })
        })
        .await
    }

    /// Removes branch `name`.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` if the head is not what `expect` says.
    pub async fn delete_branch(&self, name: &str, expect: ExpectHead) -> Result<Ack> {
        let deleted = self.change(RootKind::Branch, name, expect, |_, _| Ok(RootChange::Delete));
        let ack = deleted.await?;
        self.quotas.forget();
        Ok(ack)
    }

    /// Removes tag `name`.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_tag(&self, name: &str) -> Result<Ack> {
        self.change(RootKind::Tag, name, ExpectHead::Any, |_, _| {
            Ok(RootChange::Delete)
        })
        .await
    }

    /// Gives branch `old` the name `new`; it keeps its memory of moves.
    ///
    /// # Errors
    /// `NotFound`, `Exists`, `Invalid` for an impossible name.
    pub async fn rename_branch(&self, old: &str, new: &str) -> Result<Ack> {
        names::check("branch", new)?;
        let renamed = self.change(RootKind::Branch, old, ExpectHead::Any, |_, _| {
            if self.store.root(RootKind::Branch, new.as_bytes())?.is_some() {
                return Err(exists(RootKind::Branch, new));
            }
            Ok(RootChange::Rename {
                to: new.as_bytes().into(),
            })
        });
        let ack = renamed.await?;
        self.quotas.forget();
        Ok(ack)
    }

    /// Changes an existing root as `decide` says for the state found; again if that state was replaced meanwhile.
    pub(super) async fn change(
        &self,
        kind: RootKind,
        name: &str,
        expect: ExpectHead,
        decide: impl Fn(&Head, &mut Batch) -> Result<RootChange>,
    ) -> Result<Ack> {
        let mut races = 0;
        loop {
            let head = self.existing(kind, name)?;
            expect.check(name, Some(head.commit))?;
            let mut batch = self.batch();
            let change = decide(&head, &mut batch)?;
            batch.set_root(RootUpdate {
                kind,
                name: name.as_bytes().into(),
                expect: Expect::Sequence(head.root.sequence),
                change,
            });
            races += 1;
            match batch.submit().await {
                Err(error) if is_race(&error) && races < RACES_MAX => {}
                done => return done,
            }
        }
    }

    /// Where branch `name` is, if it exists.
    pub(super) fn head(&self, name: &str) -> Result<Option<Head>> {
        let root = self.store.root(RootKind::Branch, name.as_bytes())?;
        root.filter(|root| root.domain == self.domain)
            .map(|root| self.head_of(root))
            .transpose()
    }

    pub(super) fn existing(&self, kind: RootKind, name: &str) -> Result<Head> {
        let root = self
            .store
            .root(kind, name.as_bytes())?
            .filter(|root| root.domain == self.domain);
        self.head_of(root.ok_or_else(|| Error::not_found(format!("{} {name}", word(kind))))?)
    }

    fn head_of(&self, root: Root) -> Result<Head> {
        match root.target {
            Some(Target {
                kind: Kind::Commit,
                id,
            }) => Ok(Head { root, commit: id }),
            _ => {
                let what = format!("{} {}", word(root.kind), String::from_utf8_lossy(&root.name));
                Err(Error::invalid(what, "its record names no commit"))
            }
        }
    }

    /// Says which heads a lost race was about.
    pub(super) fn explain(&self, error: Error, branch: &str, expected: Option<ContentId>) -> Error {
        match self.head(branch) {
            Ok(found) if is_race(&error) => moved(branch, expected, found.map(|head| head.commit)),
            _ => error,
        }
    }
}

/// The data of a branch or tag.
pub(super) fn data_of(root: &Root) -> Result<BranchData> {
    BranchData::decode(&root.data).map_err(|damage| {
        let name = String::from_utf8_lossy(&root.name);
        Error::invalid(format!("{} {name}", word(root.kind)), damage.to_string())
    })
}

fn reference(head: &Head) -> Result<Reference> {
    let data = head.data()?;
    Ok(Reference {
        name: String::from_utf8_lossy(&head.root.name).into_owned(),
        commit: head.commit,
        created_ns: data.created_ns,
        changed_ns: head.root.changed_ns,
        floor_ns: data.floor_ns,
        expires_ns: data.expires_ns,
    })
}

/// The condition that the branch is as it was read.
pub(super) fn expect(head: Option<&Head>) -> Expect {
    head.map_or(Expect::Absent, |head| Expect::Sequence(head.root.sequence))
}

/// The head of a branch is not the one expected.
pub(super) fn moved(branch: &str, expected: Option<ContentId>, found: Option<ContentId>) -> Error {
    let show = |head: Option<ContentId>| head.map_or_else(|| "no such branch".into(), |id| id.to_string());
    Error::Conflict {
        root: format!("branch {branch}"),
        expected: show(expected),
        found: show(found),
    }
}

pub(super) fn is_race(error: &Error) -> bool {
    matches!(
        error,
        Error::Conflict { .. } | Error::Exists { .. } | Error::NotFound { .. }
    )
}

fn exists(kind: RootKind, name: &str) -> Error {
    Error::Exists {
        what: format!("{} {name}", word(kind)),
    }
}

fn word(kind: RootKind) -> &'static str {
    if kind == RootKind::Tag { "tag" } else { "branch" }
}

fn target(commit: ContentId) -> Target {
    Target {
        kind: Kind::Commit,
        id: commit,
    }
}

#[cfg(test)]
#[path = "branches_tests.rs"]
mod tests;

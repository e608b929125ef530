//! Revisions: how people name a commit, and a path in it.
//!
//! ```text
//! REVISION = BASE SUFFIX* [":" PATH]
//! BASE     = branch | tag | id | id prefix of at least 4 digits | branch "@{" TIME "}"
//! SUFFIX   = "~" [N] | "^"          ancestors along first parents; "~" and "^" are "~1"
//! TIME     = 10m | 1d12h | 2026-11-21T09:30:00Z
//! ```
//! A branch wins over a tag of the same name, a name over an id prefix. There is no default branch here: that is the
//! caller's to fill in.

use super::liveness::Histories;
use super::path::TreePath;
use super::{Trees, commit::commit_key, time};
use crate::error::{Error, Result};
use crate::format::ContentId;
use crate::store::RootKind;

/// Fewest digits of an abbreviated id.
const PREFIX_DIGITS_MIN: usize = 4;
/// Candidates that an ambiguity error lists.
const CANDIDATES_MAX: usize = 8;

/// A revision taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Branch, tag or id, as given.
    pub base: String,
    /// Time of `@{...}`, as given.
    pub time: Option<String>,
    /// Steps back along first parents.
    pub ancestors: u64,
    /// What follows the first colon.
    pub path: Option<TreePath>,
}

/// What a revision names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The commit.
    pub commit: ContentId,
    /// The branch, if the revision is a branch and nothing else (no time, no ancestors).
    pub branch: Option<String>,
    /// The path, if one was given.
    pub path: Option<TreePath>,
    /// Floor of the history that the commit was found in; 0: it has none.
    pub floor_ns: u64,
    /// Commits below the floor that the branch keeps, if the revision is a branch and nothing else.
    pub kept: Vec<ContentId>,
}

/// What the name in front names.
struct Base {
    commit: ContentId,
    branch: Option<String>,
    floor_ns: u64,
    kept: Vec<ContentId>,
}

impl Revision {
    /// Takes `text` apart; the path may be any bytes.
    ///
    /// # Errors
    /// `Invalid` with the part that is malformed.
    pub fn parse(text: &[u8]) -> Result<Revision> {
        let malformed = |reason: &str| {
            let shown = String::from_utf8_lossy(text);
            Err(Error::invalid(
                format!("revision `{}`", shown.escape_debug()),
                reason,
            ))
        };
        let (revision, path) = match split_path(text) {
            (revision, Some(path)) => (revision, Some(TreePath::new(path)?)),
            (revision, None) => (revision, None),
        };
        let Ok(revision) = std::str::from_utf8(revision) else {
            return malformed("names of branches and tags are UTF-8");
        };
        let end = revision.find(['~', '^']).unwrap_or(revision.len());
        let at = revision.find("@{");
        let (base, time, mut rest) = match at {
            Some(at) if at < end => {
                let Some(length) = revision[at..].find('}') else {
                    return malformed("the `}` after `@{` is missing");
                };
                let time = &revision[at + 2..at + length];
                (
                    &revision[..at],
                    Some(time.to_owned()),
                    &revision[at + length + 1..],
                )
            }
            _ => (&revision[..end], None, &revision[end..]),
        };
        if base.is_empty() {
            return malformed("it begins with the name of a branch or tag, or an id");
        }
        let mut ancestors = 0u64;
        while let Some(operator) = rest.chars().next() {
            rest = &rest[operator.len_utf8()..];
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let count = match (operator, &rest[..digits]) {
                ('~' | '^', "") => Some(1),
                ('~', number) => number.parse().ok(),
                ('^', "1") => Some(1),
                ('^', _) => return malformed("only the first parent has a name here: use `^` or `~N`"),
                _ => return malformed("after the name only `~N`, `^`, `@{time}` and `:path` may follow"),
            };
            let Some(sum) = count.and_then(|count| ancestors.checked_add(count)) else {
                return malformed("the number after `~` is too large");
            };
            ancestors = sum;
            rest = &rest[digits..];
        }
        if time
            .as_deref()
            .is_some_and(|time| time::parse_when(time, 0).is_none())
        {
            return malformed(
                "a time in `@{...}` is a span like 10m, 36h or 1d12h (units s, m, h, d, w) or like 2026-11-21T09:30:00Z",
            );
        }
        Ok(Revision {
            base: base.to_owned(),
            time,
            ancestors,
            path,
        })
    }
}

/// Splits at the first colon that is not inside `@{...}`.
fn split_path(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut braces = false;
    for (index, byte) in text.iter().enumerate() {
        match byte {
            b'{' if index > 0 && text[index - 1] == b'@' => braces = true,
            b'}' => braces = false,
            b':' if !braces => return (&text[..index], Some(&text[index + 1..])),
            _ => {}
        }
    }
    (text, None)
}

impl Trees {
    /// The commit (and path) that `text` names now.
    ///
    /// # Errors
    /// `Invalid` if it is malformed, `NotFound` with the part that names nothing, `Ambiguous` with candidates.
    pub async fn resolve(&self, text: impl AsRef<[u8]>) -> Result<Resolved> {
        let revision = Revision::parse(text.as_ref())?;
        let base = match &revision.time {
            Some(time) => {
                let Some(time_ns) = time::parse_when(time, self.store.now_ns()) else {
                    return Err(Error::invalid(format!("time `{time}`"), "it is out of range"));
                };
                let (commit, floor_ns) = self.line_at(&revision.base, time_ns).await?;
                Base {
                    commit,
                    branch: None,
                    floor_ns,
                    kept: Vec::new(),
                }
            }
            None => self.resolve_base(&revision.base).await?,
        };
        let plain = revision.ancestors == 0;
        let commit = self
            .ancestor(base.commit, revision.ancestors, base.floor_ns)
            .await?;
        Ok(Resolved {
            commit,
            branch: base.branch.filter(|_| plain),
            path: revision.path,
            floor_ns: base.floor_ns,
            kept: if plain { base.kept } else { Vec::new() },
        })
    }

    async fn resolve_base(&self, base: &str) -> Result<Base> {
        if let Some(head) = self.head(base)? {
            let data = head.data()?;
            return Ok(Base {
                commit: head.commit,
                branch: Some(base.to_owned()),
                floor_ns: data.floor_ns,
                kept: data.kept,
            });
        }
        match self.existing(RootKind::Tag, base) {
            Ok(tag) => {
                return Ok(Base {
                    commit: tag.commit,
                    branch: None,
                    floor_ns: tag.data()?.floor_ns,
                    kept: Vec::new(),
                });
            }
            Err(Error::NotFound { .. } | Error::Invalid { .. }) => {}
            Err(error) => return Err(error),
        }
        let commit = self.resolve_id(base).await?;
        Ok(Base {
            commit,
            branch: None,
            floor_ns: self.floor_of(commit, None).await?,
            kept: Vec::new(),
        })
    }

    async fn resolve_id(&self, base: &str) -> Result<ContentId> {
        let hexadecimal = base.bytes().all(|byte| byte.is_ascii_hexdigit());
        if hexadecimal && let Ok(id) = base.parse::<ContentId>() {
            return match self.store.length(commit_key(self.domain, id))? {
                Some(_) => Ok(id),
                None => Err(Error::not_found(format!("commit {id}"))),
            };
        }
        let abbreviated = hexadecimal && (PREFIX_DIGITS_MIN..64).contains(&base.len());
        if !abbreviated {
            return Err(Error::not_found(format!(
                "branch, tag or commit `{}`",
                base.escape_debug()
            )));
        }
        let mut found = self.commits_with_prefix(&base.to_ascii_lowercase()).await?;
        match found.len() {
            0 => Err(Error::not_found(format!(
                "branch or tag `{base}`, or commit {base}..."
            ))),
            1 => Ok(found.remove(0)),
            count => {
                let mut candidates: Vec<String> = found
                    .iter()
                    .take(CANDIDATES_MAX)
                    .map(|id| id.to_string()[..base.len().max(12) + 4].into())
                    .collect();
                if count > CANDIDATES_MAX {
                    candidates.push(format!("{} others", count - CANDIDATES_MAX));
                }
                Err(Error::Ambiguous {
                    what: format!("commit {base}..."),
                    candidates: candidates.join(", "),
                })
            }
        }
    }

    /// Ids of the commits reachable from branches and tags that begin with these hexadecimal digits, sorted.
    async fn commits_with_prefix(&self, prefix: &str) -> Result<Vec<ContentId>> {
        let histories = Histories::new(self.store.clone());
        let mut roots = Vec::new();
        for kind in [RootKind::Branch, RootKind::Tag] {
            let all = self.store.roots(kind)?.into_iter();
            roots.extend(all.filter(|root| root.domain == self.domain));
        }
        Histories::order(&mut roots);
        let mut matching = std::collections::BTreeSet::new();
        let mut found = Vec::new();
        for root in &roots {
            histories.root(root, &mut found).await?;
            let ids = found.drain(..).map(|(_, id)| id);
            matching.extend(ids.filter(|id| id.to_string().starts_with(prefix)));
        }
        Ok(matching.into_iter().collect())
    }
}

#[cfg(test)]
#[path = "revision_tests.rs"]
mod tests;

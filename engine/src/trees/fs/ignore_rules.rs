//! Which names a commit leaves out, and a restore leaves alone.
//!
//! Nothing is ignored unless someone says so. Patterns are those of `.gitignore`, matched against the path relative
//! to the directory that holds them; the last pattern that matches decides, `!` takes back. Strongest first:
//! `--exclude` patterns, then ignore files from the deepest directory up; in one directory `.heliosignore` before
//! `.gitignore` (the latter only when asked for, with `.git/info/exclude`). Nothing below an ignored directory can
//! be taken back, because it is not entered. Ignore files that are symbolic links are not followed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::error::{Error, Result};

/// Longest ignore file that is read, in bytes.
pub(super) const IGNORE_FILE_BYTES_MAX: u64 = 1 << 20;

/// The rules that hold in one directory; shared by all below it that add none.
#[derive(Debug)]
pub(super) struct Rules {
    /// Rules of the directories above.
    above: Option<Arc<Rules>>,
    /// Length of this directory's path from the root, with the slash behind it.
    base: usize,
    /// Patterns of this directory, the strongest first.
    here: Vec<Gitignore>,
    /// `--exclude` patterns, on the root level only.
    excludes: Option<Gitignore>,
}

impl Rules {
    /// The rules a walk starts with.
    pub(super) fn root(excludes: &[String]) -> Result<Arc<Rules>> {
        let mut builder = GitignoreBuilder::new("");
        for pattern in excludes {
            let problem = |reason: String| Error::invalid(format!("exclude pattern {pattern:?}"), reason);
            if pattern.trim().is_empty() || pattern.starts_with('#') {
                return Err(problem(
                    "is empty or a comment; give a pattern as in .gitignore".into(),
                ));
            }
            builder
                .add_line(None, pattern)
                .map_err(|error| problem(error.to_string()))?;
        }
        let matcher = builder
            .build()
            .map_err(|error| Error::invalid("exclude patterns", error.to_string()))?;
        Ok(Arc::new(Rules {
            above: None,
            base: 0,
            here: Vec::new(),
            excludes: (!matcher.is_empty()).then_some(matcher),
        }))
    }

    /// The rules in a directory (by its path from the root) that has ignore files with these texts, the strongest
    /// first. `unusable` is told about every line that means nothing.
    pub(super) fn enter(
        self: &Arc<Rules>,
        directory: &[u8],
        texts: &[Vec<u8>],
        mut unusable: impl FnMut(String),
    ) -> Arc<Rules> {
        let here = texts
            .iter()
            .map(|text| {
                let mut builder = GitignoreBuilder::new("");
                for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
                    let outcome = match std::str::from_utf8(line) {
                        Ok(line) => builder
                            .add_line(None, line)
                            .map(drop)
                            .map_err(|error| error.to_string()),
                        Err(_) => Err("is not UTF-8".to_owned()),
                    };
                    if let Err(reason) = outcome {
                        unusable(format!("line {}: {reason}", number + 1));
                    }
                }
                builder.build().unwrap_or_else(|error| {
                    unusable(error.to_string());
                    Gitignore::empty()
                })
            })
            .filter(|matcher| !matcher.is_empty())
            .collect::<Vec<_>>();
        if here.is_empty() {
            return Arc::clone(self);
        }
        Arc::new(Rules {
            above: Some(Arc::clone(self)),
            base: directory.len() + usize::from(!directory.is_empty()),
            here,
            excludes: None,
        })
    }

    /// Whether no pattern can match anything.
    pub(super) fn is_empty(&self) -> bool {
        self.above.is_none() && self.here.is_empty() && self.excludes.is_none()
    }

    /// Whether the path (from the root) is left out. The directories above it are not.
    pub(super) fn ignores(&self, path: &[u8], is_directory: bool) -> bool {
        let verdict = |matcher: &Gitignore, path: &[u8]| match matcher
            .matched(Path::new(OsStr::from_bytes(path)), is_directory)
        {
            Match::None => None,
            Match::Ignore(_) => Some(true),
            Match::Whitelist(_) => Some(false),
        };
        let mut root = self;
        while let Some(above) = &root.above {
            root = above;
        }
        if let Some(ignored) = root.excludes.as_ref().and_then(|matcher| verdict(matcher, path)) {
            return ignored;
        }
        let mut at = Some(self);
        while let Some(rules) = at {
            let from = path.get(rules.base..).unwrap_or_default();
            if let Some(ignored) = rules.here.iter().find_map(|matcher| verdict(matcher, from)) {
                return ignored;
            }
            at = rules.above.as_deref();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(excludes: &[&str]) -> Arc<Rules> {
        let excludes: Vec<String> = excludes.iter().map(|&pattern| pattern.to_owned()).collect();
        Rules::root(&excludes).expect("the patterns are right")
    }

    fn no_complaint(line: String) {
        panic!("{line}");
    }

    /// Goal: nothing is ignored by default, whatever it is called.
    #[test]
    fn everything_is_kept_by_default() {
        let rules = rules(&[]);
        assert!(rules.is_empty());
        assert!(!rules.ignores(b"node_modules", true));
        assert!(!rules.ignores(b".git", true));
    }

    /// Goal: the order of strength is as documented. Method: the same name ruled differently on each level.
    #[test]
    fn deeper_and_stronger_rules_win() {
        let root = rules(&["*.never", "!always.log"]);
        let top = root.enter(b"", &[b"*.log\n/only-here\nbuild/\n".to_vec()], no_complaint);
        let deep = top.enter(
            b"a/b",
            &[b"!kept.log\n".to_vec(), b"kept.log\n*.tmp\n".to_vec()],
            no_complaint,
        );
        assert!(top.ignores(b"x.log", false) && top.ignores(b"a/x.log", false));
        assert!(!top.ignores(b"always.log", false), "--exclude decides first");
        assert!(top.ignores(b"only-here", false) && !top.ignores(b"a/only-here", false));
        assert!(top.ignores(b"build", true) && !top.ignores(b"build", false));
        assert!(
            !deep.ignores(b"a/b/kept.log", false),
            ".heliosignore before .gitignore"
        );
        assert!(
            deep.ignores(b"a/b/other.log", false),
            "rules from above still hold"
        );
        assert!(deep.ignores(b"a/b/x.tmp", false) && !top.ignores(b"a/x.tmp", false));
        assert!(deep.ignores(b"a/b/x.never", false));
    }

    /// Goal: names that are not UTF-8 are matched as bytes, and lines that are not are reported, not obeyed.
    #[test]
    fn bytes_that_are_not_utf8() {
        let mut complaints = Vec::new();
        let rules = rules(&[]).enter(b"", &[b"*.o\n\xff\xfe\n".to_vec()], |line| complaints.push(line));
        assert!(rules.ignores(b"\xff\xfe.o", false));
        assert!(!rules.ignores(b"\xff\xfe", false));
        assert_eq!(complaints, ["line 2: is not UTF-8"]);
    }

    /// Goal: a pattern on the command line that can't work is an error with the pattern in it.
    #[test]
    fn unusable_excludes_are_errors() {
        for pattern in ["a{b", "", "# no"] {
            assert!(Rules::root(&[pattern.to_owned()]).is_err(), "{pattern:?}");
        }
    }
}

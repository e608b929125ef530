//! Paths inside a tree: raw bytes, relative to its root, normalised when made.
//!
//! A path never leaves its tree: absolute paths and `..` are refused rather than interpreted, and nothing here
//! follows symbolic links.

use std::fmt;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::limits::NAME_BYTES_MAX;

/// A normalised path: components joined by single `/`, without `.`; empty for the root.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct TreePath(Bytes);

impl TreePath {
    /// The root of the tree.
    pub fn root() -> TreePath {
        TreePath::default()
    }

    /// Normalises `path`: `a//b/./c/` is `a/b/c`.
    ///
    /// # Errors
    /// `Invalid` for an absolute path, a `..`, a NUL or a component of more than 255 bytes.
    pub fn new(path: impl AsRef<[u8]>) -> Result<TreePath> {
        let path = path.as_ref();
        let mut normal = Vec::with_capacity(path.len());
        for component in components(path)? {
            if !normal.is_empty() {
                normal.push(b'/');
            }
            normal.extend_from_slice(component?);
        }
        Ok(TreePath(normal.into()))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// True for the root of the tree.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The names on the way from the root.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .split(|&byte| byte == b'/')
            .filter(|component| !component.is_empty())
    }

    /// The last name; nothing for the root.
    pub fn name(&self) -> Option<&[u8]> {
        self.0
            .rsplit(|&byte| byte == b'/')
            .next()
            .filter(|name| !name.is_empty())
    }

    /// The directory that holds it; nothing for the root.
    pub fn parent(&self) -> Option<TreePath> {
        let name = self.name()?;
        let end = self.0.len() - name.len();
        Some(TreePath(self.0.slice(..end.saturating_sub(1))))
    }

    /// The path of entry `name` of this directory. The name must be one component.
    pub fn join(&self, name: &[u8]) -> TreePath {
        if self.is_root() {
            return TreePath(Bytes::copy_from_slice(name));
        }
        let mut path = Vec::with_capacity(self.0.len() + 1 + name.len());
        path.extend_from_slice(&self.0);
        path.push(b'/');
        path.extend_from_slice(name);
        TreePath(path.into())
    }

    /// True if `self` is `other` or a directory above it.
    pub fn contains(&self, other: &TreePath) -> bool {
        let rest = other.0.strip_prefix(&self.0[..]);
        rest.is_some_and(|rest| self.is_root() || rest.is_empty() || rest[0] == b'/')
    }
}

impl Ord for TreePath {
    /// The order of a walk: by components, so that what is in `a` comes before `a.b`.
    fn cmp(&self, other: &TreePath) -> std::cmp::Ordering {
        self.components().cmp(other.components())
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &TreePath) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl AsRef<[u8]> for TreePath {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            f.pad(".")
        } else {
            f.pad(&String::from_utf8_lossy(&self.0))
        }
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// The checked components of a path that may not be normal yet, without copying.
pub(super) fn components(path: &[u8]) -> Result<impl Iterator<Item = Result<&[u8]>>> {
    if path.first() == Some(&b'/') {
        return Err(refuse(
            path,
            "a path in a tree is relative to its root; leave out the leading `/`",
        ));
    }
    let parts = path
        .split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".");
    Ok(parts.map(move |part| {
        if part == b".." {
            Err(refuse(path, "`..` is not followed"))
        } else if part.len() > NAME_BYTES_MAX {
            Err(refuse(path, "a name in it is longer than 255 bytes"))
        } else if part.contains(&0) {
            Err(refuse(path, "it has a NUL byte"))
        } else {
            Ok(part)
        }
    }))
}

fn refuse(path: &[u8], reason: &str) -> Error {
    Error::invalid(describe(path), reason)
}

/// A path for people.
pub(super) fn describe(path: &[u8]) -> String {
    format!("path `{}`", path.escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> TreePath {
        TreePath::new(text).unwrap()
    }

    /// Goal: one path has one form. Method: spellings of it.
    #[test]
    fn paths_are_normalised() {
        for (given, normal) in [
            ("a", "a"),
            ("a/b", "a/b"),
            ("./a//b/./c/", "a/b/c"),
            ("", ""),
            (".", ""),
            ("./", ""),
            ("...", "..."),
        ] {
            assert_eq!(path(given).as_bytes(), normal.as_bytes());
        }
        assert_eq!(TreePath::new(b"\xff/\xfe").unwrap().components().count(), 2);
    }

    /// Goal: no path leaves its tree. Method: the ways out.
    #[test]
    fn escapes_are_refused() {
        let long = "x".repeat(256);
        for given in ["/", "/etc/passwd", "..", "a/..", "../a", "a/../b", "a\0b", &long] {
            assert!(
                matches!(TreePath::new(given), Err(Error::Invalid { .. })),
                "{given:?}"
            );
        }
    }

    /// Goal: taking apart and joining are inverse. Method: paths of several depths.
    #[test]
    fn parents_and_names_join() {
        for text in ["a", "a/b", "a/b/c"] {
            let whole = path(text);
            assert_eq!(whole.parent().unwrap().join(whole.name().unwrap()), whole);
        }
        assert_eq!((TreePath::root().parent(), TreePath::root().name()), (None, None));
        assert_eq!(path("a").parent(), Some(TreePath::root()));
    }

    /// Goal: containment goes by components. Method: a sibling with a common beginning.
    #[test]
    fn containment_goes_by_components() {
        assert!(
            path("").contains(&path("a/b"))
                && path("a").contains(&path("a/b"))
                && path("a").contains(&path("a"))
        );
        assert!(!path("a").contains(&path("ab")) && !path("a/b").contains(&path("a")));
    }

    /// Goal: paths sort as a walk meets them. Method: a name that sorts between a directory and its content.
    #[test]
    fn paths_sort_as_a_walk_meets_them() {
        let mut paths = ["a.b", "a/x", "a", ""].map(path);
        paths.sort();
        assert_eq!(paths, ["", "a", "a/x", "a.b"].map(path));
    }
}

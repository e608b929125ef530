//! What branches and tags may be called: as in git, so that names survive a way there and back, and so that a name
//! can never be read as another revision.

use crate::error::{Error, Result};
use crate::limits::ROOT_NAME_BYTES_MAX;

/// Checks the name of a branch or tag; `what` is the word for messages.
pub(super) fn check(what: &str, name: &str) -> Result<()> {
    match problem(name) {
        None => Ok(()),
        Some(reason) => Err(Error::invalid(
            format!("{what} name `{}`", name.escape_debug()),
            reason,
        )),
    }
}

fn problem(name: &str) -> Option<String> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > ROOT_NAME_BYTES_MAX {
        return Some(format!("it is longer than {ROOT_NAME_BYTES_MAX} bytes"));
    } else if name.starts_with('-') {
        "it may not begin with `-`"
    } else if name == "@" || name == "HEAD" {
        "this name has a meaning of its own"
    } else if !is_plain(name)
        && let Some(reason) = problem_inside(name)
    {
        return Some(reason);
    } else if name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        "it looks like an id"
    } else {
        return None;
    };
    Some(reason.into())
}

/// Whether there is nothing in a name that the rules about characters and parts forbid or restrict, as in most: a fork waits
/// for this.
fn is_plain(name: &str) -> bool {
    name.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn problem_inside(name: &str) -> Option<String> {
    let is_special = |c: &char| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\');
    if let Some(bad) = name.chars().find(is_special) {
        return Some(format!("it may not contain `{}`", bad.escape_debug()));
    }
    let reason = if has_pair(name, b"..") || has_pair(name, b"@{") {
        "it may not contain `..` or `@{`"
    } else if name.starts_with('/') || name.ends_with('/') || has_pair(name, b"//") {
        "`/` may only stand between two parts"
    } else if name.ends_with('.')
        || name
            .split('/')
            .any(|part| part.starts_with('.') || part.ends_with(".lock"))
    {
        "no part may begin with `.` or end with `.lock`, and it may not end with `.`"
    } else {
        return None;
    };
    Some(reason.into())
}

/// Whether two bytes follow each other somewhere. A search for a string prepares tables, which costs a short name more.
fn has_pair(name: &str, pair: &[u8; 2]) -> bool {
    name.as_bytes().windows(2).any(|window| window == pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: names that could be read as something else are refused, others are not. Method: one of each kind.
    #[test]
    fn names_follow_the_rules_of_git() {
        let id = "a".repeat(64);
        let long = "x".repeat(256);
        for bad in [
            "", "-x", "@", "HEAD", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b", "a..b", "a@{1}",
            "/a", "a/", "a//b", ".a", "a/.b", "a.", "a.lock", "a.lock/b", "a\nb", "a\u{7f}", &id, &long,
        ] {
            assert!(check("branch", bad).is_err(), "{bad:?}");
        }
        for good in [
            "main",
            "agent-1",
            "feature/x",
            "a.b",
            "ä",
            "a@b",
            "abcd",
            "x-",
            "1",
        ] {
            assert!(check("branch", good).is_ok(), "{good:?}");
        }
    }
}

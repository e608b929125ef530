//! Replacing texts in a content.

use super::Replacement;
use super::room::Taken;
use super::run::check_size;
use crate::error::Error;
use crate::ops::{ByteString, Failure};

/// `content` with one text replaced; memory for the result is taken as well.
pub(super) fn patched(
    path: &ByteString,
    content: &[u8],
    replacement: &Replacement,
    taken: &mut Taken<'_>,
) -> Result<Vec<u8>, Failure> {
    let (old, new) = (replacement.old.as_bytes(), replacement.new.as_bytes());
    let refused = |reason: String| Err(Error::invalid(format!("patch of `{path}`"), reason).into());
    if old.is_empty() {
        return refused("the text to be replaced is empty".into());
    }
    let wanted = if replacement.all { usize::MAX } else { 2 };
    let found = memchr::memmem::find_iter(content, old).take(wanted).count();
    match found {
        0 => return refused(format!("`{}` is not there", replacement.old)),
        2.. if !replacement.all => {
            return refused(format!("`{}` is there more than once", replacement.old));
        }
        _ => {}
    }
    // Before it is made: a short text may be there very often, and what replaces it long.
    let kept = content.len() - found * old.len();
    let size = (found as u64)
        .saturating_mul(new.len() as u64)
        .saturating_add(kept as u64);
    check_size(path, size)?;
    taken.more(size)?;
    let mut patched = Vec::with_capacity(usize::try_from(size).expect("checked above"));
    let mut from = 0;
    for at in memchr::memmem::find_iter(content, old).take(found) {
        patched.extend_from_slice(&content[from..at]);
        patched.extend_from_slice(new);
        from = at + old.len();
    }
    patched.extend_from_slice(&content[from..]);
    Ok(patched)
}

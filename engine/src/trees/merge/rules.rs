//! What becomes of one name: the rules of a merge, entry by entry.
//!
//! An entry is whole: kind, mode, size, id and attributes are taken from one side, never mixed. The time of last change
//! is the one thing that is no part of this. It follows from when somebody wrote, so entries that differ in nothing
//! else count as equal, and of two times that both sides have set for one kind of thing the newer stays. A directory is two things:
//! its own fields, which are merged like those of a file, and what is in it, which is merged by itself (`three_way`).
//!
//! With several bases a side counts as unchanged only if it is as *all* of them say. So whichever base a merge over one
//! would have chosen, the result is the same or a conflict.
//! Rejected: mixing a mode of one side with a content of the other. Nobody has seen that file, and a script that became
//! executable here and something else there should not run unasked.

use crate::error::{Error, Result};
use crate::format::ContentId;
use crate::format::node::{FileTime, Tags};
use crate::trees::node::{self, Item};

/// Which side a name, or the inside of a directory, is taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Ours,
    Theirs,
}

/// What a name stands for on all sides.
#[derive(Clone)]
pub(super) struct Sides {
    /// At least one.
    pub bases: Vec<Option<Item>>,
    pub ours: Option<Item>,
    pub theirs: Option<Item>,
}

impl Sides {
    /// The side that has changed the entry, what is in a directory left aside; nothing if both did, each its own way.
    pub fn changed(&self) -> Result<Option<Taken>> {
        if is_alike(self.ours.as_ref(), self.theirs.as_ref())? {
            return Ok(Some(Taken::Ours));
        }
        if self.all_bases(self.ours.as_ref())? {
            return Ok(Some(Taken::Theirs));
        }
        Ok(self.all_bases(self.theirs.as_ref())?.then_some(Taken::Ours))
    }

    fn all_bases(&self, side: Option<&Item>) -> Result<bool> {
        for base in &self.bases {
            if !is_alike(base.as_ref(), side)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The inside of a directory that is one on both sides: of the side that has changed it, nothing if both did.
    pub fn inside(&self, ours: ContentId, theirs: ContentId) -> Option<Taken> {
        let all = |id: ContentId| self.bases_inside().all(|base| base == Some(id));
        if ours == theirs || all(theirs) {
            Some(Taken::Ours)
        } else {
            all(ours).then_some(Taken::Theirs)
        }
    }

    /// What the directory had in it before; nothing where it was none.
    pub fn bases_inside(&self) -> impl Iterator<Item = Option<ContentId>> {
        self.bases
            .iter()
            .map(|base| base.as_ref().filter(|base| base.is_directory()))
            .map(|base| base.map(|base| base.record.id))
    }

    /// The entry taken from a side, with its time merged.
    pub fn take(&self, from: Taken) -> Result<Option<Item>> {
        let taken = match from {
            Taken::Ours => &self.ours,
            Taken::Theirs => &self.theirs,
        };
        let (Some(ours), Some(theirs)) = (&self.ours, &self.theirs) else {
            return Ok(taken.clone());
        };
        if ours.record.kind != theirs.record.kind {
            return Ok(taken.clone());
        }
        let (ours, theirs) = (mtime(ours)?, mtime(theirs)?);
        let mut bases = Vec::with_capacity(self.bases.len());
        for base in &self.bases {
            bases.push(base.as_ref().map(mtime).transpose()?);
        }
        let all = |time| bases.iter().all(|base| *base == Some(time));
        let time = if all(ours) {
            theirs
        } else if all(theirs) {
            ours
        } else {
            ours.max(theirs)
        };
        taken.as_ref().map(|item| with_mtime(item, time)).transpose()
    }
}

/// True if both are absent, or the same but for the time of last change and what is in a directory.
pub(super) fn is_alike(a: Option<&Item>, b: Option<&Item>) -> Result<bool> {
    let (Some(a), Some(b)) = (a, b) else {
        return Ok(a.is_none() && b.is_none());
    };
    let fields = |item: &Item| {
        let record = &item.record;
        let id = if item.is_directory() {
            ContentId([0; 32])
        } else {
            record.id
        };
        (record.kind, record.mode.get(), record.size.get(), id)
    };
    if fields(a) != fields(b) {
        return Ok(false);
    }
    if a.record.tags.get() == b.record.tags.get() && a.attributes == b.attributes {
        return Ok(true);
    }
    let (mut a, mut b) = (attributes(a)?, attributes(b)?);
    (a.mtime, b.mtime) = (None, None);
    Ok(a == b)
}

/// The attributes of an entry.
pub(super) fn attributes(item: &Item) -> Result<crate::format::node::AttributeView<'_>> {
    item.record
        .attributes(&item.attributes)
        .map_err(|damage| Error::invalid(node::describe(&item.name), damage.to_string()))
}

fn mtime(item: &Item) -> Result<Option<FileTime>> {
    Ok(attributes(item)?.mtime)
}

fn with_mtime(item: &Item, time: Option<FileTime>) -> Result<Item> {
    let mut view = attributes(item)?;
    if view.mtime == time {
        return Ok(item.clone());
    }
    view.mtime = time;
    let (Tags(tags), bytes) = view.encoded();
    let mut record = item.record;
    record.tags = tags.into();
    record.attributes_bytes = u16::try_from(bytes.len()).unwrap_or(u16::MAX).into();
    Ok(Item {
        name: item.name.clone(),
        record,
        attributes: bytes.into(),
    })
}

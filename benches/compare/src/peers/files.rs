//! One file per content, named by its id, in 256 directories: what programs do that need nothing else.
//!
//! A content is written to a temporary file and renamed. Durable: file and directory are synced. Visible: neither.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use helios_engine::format::ContentId;
use helios_engine::hash;

use super::{Content, Objects};
use crate::measure::{Class, Outcome};

/// See the module.
pub struct Contents {
    top: PathBuf,
    class: Class,
}

/// The settings of a class, as a note.
pub fn settings(class: Class) -> &'static str {
    match class {
        Class::Durable => "write, fsync, rename, fsync of the directory",
        _ => "write, rename",
    }
}

impl Contents {
    /// Makes the directories.
    pub fn new(top: &Path, class: Class) -> Outcome<Contents> {
        for first in 0..=u8::MAX {
            fs::create_dir_all(top.join(format!("{first:02x}")))?;
        }
        let top = top.to_owned();
        Ok(Contents { top, class })
    }

    fn path(&self, id: &ContentId) -> PathBuf {
        let name = id.to_string();
        self.top.join(&name[..2]).join(&name[2..])
    }
}

impl Objects for Contents {
    fn put(&self, contents: &[Content]) -> Outcome {
        for content in contents {
            let path = self.path(&hash::content_id(&content.bytes));
            if path.exists() {
                continue;
            }
            let temporary = path.with_extension("new");
            let mut file = File::create(&temporary)?;
            file.write_all(&content.bytes)?;
            if self.class == Class::Durable {
                file.sync_data()?;
            }
            fs::rename(&temporary, &path)?;
            if self.class == Class::Durable {
                File::open(path.parent().ok_or("no directory")?)?.sync_all()?;
            }
        }
        Ok(())
    }

    fn get(&self, content: &Content) -> Outcome<usize> {
        let mut bytes = Vec::with_capacity(content.bytes.len());
        File::open(self.path(&content.id))?.read_to_end(&mut bytes)?;
        Ok(bytes.len())
    }
}

//! redb, a B-tree in one file. Durable: `Durability::Immediate`, its default. Visible: `Durability::None`.

use std::path::Path;
use std::sync::Arc;

use helios_engine::hash;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use super::{Content, Objects, Stepper};
use crate::measure::{Class, Outcome};

const FILES: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("files");
const CONTENTS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("contents");

/// The settings of a class, as a note.
pub fn settings(class: Class) -> &'static str {
    match class {
        Class::Durable => "Durability::Immediate",
        _ => "Durability::None",
    }
}

fn durability(class: Class) -> Durability {
    match class {
        Class::Durable => Durability::Immediate,
        _ => Durability::None,
    }
}

/// A table of files by path and commit: every state can be had again, as with the others.
pub struct Steps {
    database: Database,
    class: Class,
    commit: u64,
}

impl Steps {
    /// A database with these files in its first commit.
    pub fn new(
        path: &Path,
        class: Class,
        files: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Outcome<Steps> {
        let mut made = Steps {
            database: Database::create(path)?,
            class: Class::Durable,
            commit: 0,
        };
        made.step(&files.into_iter().collect::<Vec<_>>())?;
        made.class = class;
        Ok(made)
    }
}

impl Stepper for Steps {
    fn step(&mut self, edits: &[(String, Vec<u8>)]) -> Outcome {
        self.commit += 1;
        let mut write = self.database.begin_write()?;
        write.set_durability(durability(self.class))?;
        {
            let mut files = write.open_table(FILES)?;
            for (path, bytes) in edits {
                files.insert((path.as_str(), self.commit), bytes.as_slice())?;
            }
        }
        Ok(write.commit()?)
    }
}

/// A table of contents by the id that is their hash.
pub struct Contents {
    database: Database,
    class: Class,
}

impl Contents {
    /// Opens it, or makes it, with that much memory for its cache.
    pub fn new(path: &Path, class: Class, cache_bytes: usize) -> Outcome<Contents> {
        let database = Database::builder().set_cache_size(cache_bytes).create(path)?;
        let write = database.begin_write()?;
        write.open_table(CONTENTS)?;
        write.commit()?;
        Ok(Contents { database, class })
    }
}

impl Objects for Contents {
    fn put(&self, contents: &[Content]) -> Outcome {
        let mut write = self.database.begin_write()?;
        write.set_durability(durability(self.class))?;
        {
            let mut table = write.open_table(CONTENTS)?;
            for Content { bytes, .. } in contents {
                let id = hash::content_id(bytes);
                // Looking first keeps a duplicate from being written again.
                if table.get(id.0.as_slice())?.is_none() {
                    table.insert(id.0.as_slice(), &bytes[..])?;
                }
            }
        }
        Ok(write.commit()?)
    }

    /// There is one writer: what is in flight is one transaction.
    fn put_in_flight(&self, contents: &Arc<[Content]>, depth: usize) -> Outcome {
        contents.chunks(depth).try_for_each(|together| self.put(together))
    }

    fn get(&self, content: &Content) -> Outcome<usize> {
        let read = self.database.begin_read()?;
        let table = read.open_table(CONTENTS)?;
        let found = table
            .get(content.id.0.as_slice())?
            .ok_or("a content is missing")?;
        Ok(found.value().to_vec().len())
    }
}

//! SQLite, bundled.
//!
//! Both classes use the write-ahead log, as SQLite recommends for many writers of small transactions. Durable:
//! `synchronous=FULL`, which syncs the log at every commit. Visible: `synchronous=NORMAL`, which loses the last transactions
//! with the power.

use std::path::Path;
use std::sync::{Arc, Mutex};

use helios_engine::hash;
use rusqlite::{Connection, OptionalExtension};

use super::{Content, Objects, Stepper};
use crate::measure::{Class, Outcome};

/// The settings of a class, as a note.
pub fn settings(class: Class) -> &'static str {
    match class {
        Class::Durable => "WAL, synchronous=FULL",
        _ => "WAL, synchronous=NORMAL",
    }
}

fn connect(path: &Path, class: Class) -> Outcome<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    let synchronous = if class == Class::Durable { "FULL" } else { "NORMAL" };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "busy_timeout", 10_000)?;
    Ok(connection)
}

/// A table of files by commit and path: every state can be had again, as with the others.
pub struct Steps {
    connection: Connection,
    commit: i64,
}

impl Steps {
    /// A database with these files in its first commit.
    pub fn new(
        path: &Path,
        class: Class,
        files: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Outcome<Steps> {
        let connection = connect(path, class)?;
        connection.execute_batch(
            "CREATE TABLE commits (id INTEGER PRIMARY KEY, message TEXT NOT NULL);
             CREATE TABLE files (path TEXT NOT NULL, commit_id INTEGER NOT NULL, content BLOB NOT NULL,
                                 PRIMARY KEY (path, commit_id)) WITHOUT ROWID;",
        )?;
        let mut made = Steps {
            connection,
            commit: 0,
        };
        made.step(&files.into_iter().collect::<Vec<_>>())?;
        Ok(made)
    }
}

impl Stepper for Steps {
    fn step(&mut self, edits: &[(String, Vec<u8>)]) -> Outcome {
        self.commit += 1;
        let transaction = self.connection.transaction()?;
        transaction
            .prepare_cached("INSERT INTO commits VALUES (?1, 'step')")?
            .execute([self.commit])?;
        {
            // A step may edit one file twice.
            let mut insert =
                transaction.prepare_cached("INSERT OR REPLACE INTO files VALUES (?1, ?2, ?3)")?;
            for (path, bytes) in edits {
                insert.execute((path, self.commit, bytes))?;
            }
        }
        Ok(transaction.commit()?)
    }
}

/// A table of contents by the id that is their hash.
pub struct Contents {
    writer: Mutex<Connection>,
    readers: Vec<Mutex<Connection>>,
}

impl Contents {
    /// Opens it, or makes it, for as many readers at once.
    pub fn new(path: &Path, class: Class, readers: usize) -> Outcome<Contents> {
        let writer = connect(path, class)?;
        writer.execute_batch(
            "CREATE TABLE IF NOT EXISTS contents (id BLOB PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;",
        )?;
        let readers = (0..readers).map(|_| connect(path, class).map(Mutex::new));
        Ok(Contents {
            readers: readers.collect::<Outcome<_>>()?,
            writer: Mutex::new(writer),
        })
    }
}

impl Objects for Contents {
    fn put(&self, contents: &[Content]) -> Outcome {
        let mut writer = self.writer.lock().map_err(|_| "another thread failed")?;
        let transaction = writer.transaction()?;
        {
            let mut insert = transaction.prepare_cached("INSERT OR IGNORE INTO contents VALUES (?1, ?2)")?;
            for Content { bytes, .. } in contents {
                let id = hash::content_id(bytes);
                insert.execute((id.0, &bytes[..]))?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// There is one writer: what is in flight is one transaction.
    fn put_in_flight(&self, contents: &Arc<[Content]>, depth: usize) -> Outcome {
        contents.chunks(depth).try_for_each(|together| self.put(together))
    }

    fn get(&self, content: &Content) -> Outcome<usize> {
        let reader = &self.readers[content.number as usize % self.readers.len()];
        let reader = reader.lock().map_err(|_| "another thread failed")?;
        let mut select = reader.prepare_cached("SELECT content FROM contents WHERE id = ?1")?;
        let found: Option<Vec<u8>> = select.query_row([&content.id.0], |row| row.get(0)).optional()?;
        Ok(found.ok_or("a content is missing")?.len())
    }
}

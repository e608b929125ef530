//! git's format through libgit2 (`git2`), in process and without a working tree: blobs, trees and a commit per step.
//!
//! Durable: `core.fsyncObjectFiles=true`, which libgit2 applies to objects and references. Visible: without.

use std::collections::BTreeMap;
use std::path::Path;

use git2::build::TreeUpdateBuilder;
use git2::{FileMode, Repository, Signature};

use super::Stepper;
use crate::measure::{Class, Outcome, caches};

/// A bare repository.
pub struct InProcess(Repository);

impl InProcess {
    /// A repository with these files committed.
    pub fn new(
        directory: &Path,
        class: Class,
        files: impl IntoIterator<Item = (String, Vec<u8>)>,
    ) -> Outcome<InProcess> {
        let repository = Repository::init_bare(directory)?;
        {
            let empty = repository.find_tree(repository.treebuilder(None)?.write()?)?;
            let author = Signature::now("compare", "compare@localhost")?;
            repository.commit(Some("HEAD"), &author, &author, "empty", &empty, &[])?;
        }
        let mut made = InProcess(repository);
        made.step(&files.into_iter().collect::<Vec<_>>())?;
        // From here on; the setting is read when a repository is opened.
        caches::sync_file_system(directory)?;
        made.0
            .config()?
            .set_bool("core.fsyncObjectFiles", class == Class::Durable)?;
        Ok(InProcess(Repository::open_bare(directory)?))
    }
}

impl Stepper for InProcess {
    fn step(&mut self, edits: &[(String, Vec<u8>)]) -> Outcome {
        let repository = &self.0;
        let parent = repository.head()?.peel_to_commit()?;
        // The builder takes a path once; of two edits of a file the later one is committed, as by everybody else.
        let mut blobs = BTreeMap::new();
        for (path, bytes) in edits {
            blobs.insert(path.as_str(), repository.blob(bytes)?);
        }
        let mut update = TreeUpdateBuilder::new();
        for (path, blob) in blobs {
            update.upsert(path, blob, FileMode::Blob);
        }
        let tree = update.create_updated(repository, &parent.tree()?)?;
        let tree = repository.find_tree(tree)?;
        let author = Signature::now("compare", "compare@localhost")?;
        repository.commit(Some("HEAD"), &author, &author, "step", &tree, &[&parent])?;
        Ok(())
    }
}

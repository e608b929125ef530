//! A store and a project for the tests of this layer.

use std::path::{Path, PathBuf};

use super::*;
use crate::format::ContentId;

/// A directory with a store and a project in it.
pub(super) struct Place {
    pub root: tempfile::TempDir,
    pub client: Local,
}

impl Place {
    pub fn new() -> Place {
        let root = tempfile::tempdir().unwrap();
        let project = root.path().join("project");
        std::fs::create_dir(&project).unwrap();
        std::fs::write(project.join("file"), "one").unwrap();
        let client = Local::new(StoreOptions {
            address: root.path().join("store").into(),
            reactors: Some(1),
            ..StoreOptions::default()
        });
        let place = Place { root, client };
        let made = place.call(Request::Init(InitRequest {
            size: Some(256 << 20),
            force: false,
        }));
        assert!(matches!(made, Ok(Reply::Created(_))), "{made:?}");
        place
    }

    pub fn project(&self) -> PathBuf {
        self.root.path().join("project")
    }

    /// Path of the store.
    pub fn store(&self) -> PathBuf {
        self.root.path().join("store")
    }

    /// Writes a file of the project.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.project().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub fn call(&self, request: Request) -> Result<Reply, Failure> {
        self.client.call(request, &mut Silent::default())
    }

    /// The class of the failure of a request that must fail.
    #[track_caller]
    pub fn refused(&self, request: Request) -> Class {
        match self.call(request) {
            Ok(reply) => panic!("{reply:?}"),
            Err(failure) => failure.class,
        }
    }

    pub fn commit(&self) -> Committed {
        self.commit_to(None)
    }

    /// Commits the project to a branch; nothing: the one it follows.
    pub fn commit_to(&self, branch: Option<&str>) -> Committed {
        let request = CommitRequest {
            directory: self.project().into(),
            branch: branch.map(ByteString::from),
            ..CommitRequest::default()
        };
        match self.call(Request::Commit(request)).unwrap() {
            Reply::Committed(committed) => committed,
            other => panic!("{other:?}"),
        }
    }

    /// Names and commits of all branches.
    pub fn branches(&self) -> Vec<(String, ContentId)> {
        match self.call(Request::Branch(BranchRequest::List)).unwrap() {
            Reply::References(found) => found
                .references
                .into_iter()
                .map(|branch| (branch.name.to_string(), branch.commit))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    /// What `revision:path` holds.
    pub fn cat(&self, revision: &str) -> Result<Vec<u8>, Failure> {
        let mut output = Output(Vec::new(), Cancel::default());
        let request = CatRequest {
            revision: revision.into(),
        };
        self.client.call(Request::Cat(request), &mut output)?;
        Ok(output.0)
    }
}

/// Keeps what is written.
struct Output(Vec<u8>, Cancel);

impl Exchange for Output {
    fn reporter(&self) -> Reporter {
        std::sync::Arc::new(|_| {})
    }

    fn warn(&mut self, _: &Warning) {}

    fn output(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn input(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Ok(0)
    }

    fn cancel(&self) -> &Cancel {
        &self.1
    }
}

/// Bytes that follow from a seed and do not repeat.
pub(super) fn pattern(len: usize, seed: u32) -> Vec<u8> {
    let words = (0u32..).flat_map(|n| (n ^ seed << 24).wrapping_mul(2_654_435_761).to_le_bytes());
    words.take(len).collect()
}

/// Flips a bit of the first place in a file that holds `needle`.
pub(super) fn flip(path: &Path, needle: &[u8]) {
    use std::os::unix::fs::FileExt;
    let image = std::fs::read(path).unwrap();
    let place = image
        .windows(needle.len())
        .position(|window| window == needle)
        .expect("stored as it is");
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&[image[place] ^ 1], place as u64).unwrap();
}

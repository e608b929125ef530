use std::ffi::OsString;
use std::path::Path;

use helios_engine::format::ContentId;
use helios_engine::ops::{
    Cancel, CatRequest, CheckRequest, Client, CommitRequest, Exchange, GetRequest, InitRequest, Local,
    PutRequest, Reply, Reporter, Request, StoreOptions, Warning,
};

use super::*;

/// Bytes in and bytes out.
#[derive(Default)]
struct Pipe {
    input: Vec<u8>,
    output: Vec<u8>,
    cancel: Cancel,
}

impl Exchange for Pipe {
    fn reporter(&self) -> Reporter {
        Arc::new(|_| {})
    }

    fn warn(&mut self, warning: &Warning) {
        println!("{warning:?}");
    }

    fn output(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.output.extend_from_slice(bytes);
        Ok(())
    }

    fn input(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let len = buffer.len().min(self.input.len());
        buffer[..len].copy_from_slice(&self.input[..len]);
        self.input.drain(..len);
        Ok(len)
    }

    fn cancel(&self) -> &Cancel {
        &self.cancel
    }
}

/// A store at an address, opened by the first call.
struct Store(Local);

impl Store {
    fn at(address: impl Into<OsString>) -> Store {
        Store(Local::new(StoreOptions {
            address: address.into(),
            reactors: Some(2),
            ..StoreOptions::default()
        }))
    }

    fn call(&self, request: Request, input: &[u8]) -> (Reply, Vec<u8>) {
        let mut pipe = Pipe {
            input: input.to_vec(),
            ..Pipe::default()
        };
        let reply = self.0.call(request, &mut pipe);
        (reply.unwrap_or_else(|failure| panic!("{failure:?}")), pipe.output)
    }

    /// Makes the store; `size` is a file's, devices have theirs.
    fn init(&self, size: Option<u64>) {
        let request = InitRequest { size, force: true };
        self.call(Request::Init(request), &[]);
    }

    fn put(&self, bytes: &[u8]) -> ContentId {
        let request = PutRequest {
            pin: true,
            ..PutRequest::default()
        };
        match self.call(Request::Put(request), bytes).0 {
            Reply::Content(content) => content.id,
            other => panic!("{other:?}"),
        }
    }

    fn get(&self, id: ContentId) -> Vec<u8> {
        let request = GetRequest {
            id,
            offset: 0,
            length: None,
        };
        self.call(Request::Get(request), &[]).1
    }

    fn commit(&self, directory: &Path) {
        let request = CommitRequest {
            directory: directory.to_owned().into(),
            message: "a state".into(),
            ..CommitRequest::default()
        };
        self.call(Request::Commit(request), &[]);
    }

    fn cat(&self, revision: &str) -> Vec<u8> {
        let request = CatRequest {
            revision: revision.into(),
        };
        self.call(Request::Cat(request), &[]).1
    }

    fn is_whole(&self) {
        let (reply, _) = self.call(Request::Check(CheckRequest { read_data: true }), &[]);
        let Reply::Checked(checked) = reply else {
            panic!("{reply:?}")
        };
        assert!(checked.damage.is_empty(), "{checked:?}");
    }

    fn close(self) {
        self.0.close().expect("close");
    }
}

/// Bytes that do not repeat, of a length that is no multiple of anything.
fn content(seed: u64) -> Vec<u8> {
    let mut state = seed;
    (0..3_000_017)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect()
}

/// Writes a project of several files whose contents follow from `seed`.
fn project(directory: &Path, seed: u64) {
    std::fs::create_dir_all(directory.join("deep")).expect("directory");
    for number in 0..40 {
        let bytes = &content(seed + number)[..number as usize * 977];
        std::fs::write(directory.join("deep").join(format!("file{number}")), bytes).expect("file");
    }
    std::fs::write(directory.join("seed"), seed.to_string()).expect("file");
}

/// Goal: a store on the device keeps contents and commits across closing and opening. Method: put, commit, close, open,
/// compare, verify everything.
#[test]
#[ignore = "needs a device: README.md"]
fn a_store_is_kept() {
    let address = address().to_string();
    let directory = tempfile::tempdir().expect("directory");
    project(directory.path(), 1);
    let bytes = content(100);
    let store = Store::at(&address);
    store.init(None);
    let id = store.put(&bytes);
    store.commit(directory.path());
    store.close();
    let store = Store::at(&address);
    assert!(store.get(id) == bytes, "another content came back");
    assert_eq!(store.cat("main:seed"), b"1");
    assert!(store.cat("main:deep/file39") == content(40)[..39 * 977]);
    store.is_whole();
    store.close();
}

/// Goal: the format on the device is the same whoever writes it. Method: a store written through SPDK is opened as the
/// file that has the device's bytes, and written further there, and opened through SPDK again; then the same with a store
/// that was made in the file.
#[test]
#[ignore = "needs a device: README.md"]
fn a_store_is_the_same_in_a_file() {
    let Some(file) = std::env::var_os("HELIOS_HW_FILE") else {
        println!("skipped: HELIOS_HW_FILE names no file with the device's bytes");
        return;
    };
    let device = OsString::from(address().to_string());
    let directory = tempfile::tempdir().expect("directory");
    for (seed, first, second) in [(1000, &device, &file), (2000, &file, &device)] {
        project(directory.path(), seed);
        let store = Store::at(first);
        let len = std::fs::metadata(&file).expect("the file").len();
        store.init((first == &file).then_some(len));
        let id = store.put(&content(seed));
        store.commit(directory.path());
        store.close();

        let store = Store::at(second);
        store.is_whole();
        assert!(store.get(id) == content(seed), "another content came back");
        assert_eq!(store.cat("main:seed"), seed.to_string().into_bytes());
        project(directory.path(), seed + 1);
        store.commit(directory.path());
        store.close();

        let store = Store::at(first);
        store.is_whole();
        assert_eq!(store.cat("main:seed"), (seed + 1).to_string().into_bytes());
        assert_eq!(store.cat("main~1:seed"), seed.to_string().into_bytes());
        store.close();
    }
}

/// Goal: a store whose target dies says so and ends. Method: kill the target between two commits.
#[test]
#[ignore = "ends the target: README.md"]
fn killed_target_fails_commits() {
    let target = faults::Target::of_environment().expect("HELIOS_HW_PID is the target's process");
    let directory = tempfile::tempdir().expect("directory");
    project(directory.path(), 7);
    let store = Store::at(address().to_string());
    store.init(None);
    store.commit(directory.path());
    target.kill();
    project(directory.path(), 8);
    let request = CommitRequest {
        directory: directory.path().to_owned().into(),
        ..CommitRequest::default()
    };
    let failure = store.0.call(Request::Commit(request), &mut Pipe::default());
    println!("{:?}", failure.expect_err("the target is gone"));
    println!(
        "{:?}",
        store.0.close().expect_err("nothing can be written any more")
    );
}

//! A store as tests use it: every call that fails ends the test.

use std::ffi::OsString;
use std::path::Path;

use helios_engine::format::ContentId;
use helios_engine::ops::{
    Cancel, CatRequest, CheckRequest, Class, Client, CollectRequest, CommitRecord, CommitRequest, Damage,
    Exchange, Failure, GetRequest, InitRequest, Local, LogRequest, PutRequest, Reply, Reporter, Request,
    StoreOptions, Warning,
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
pub struct Store(Local);

impl Store {
    pub fn at(address: impl Into<OsString>) -> Store {
        Store(Local::new(StoreOptions {
            address: address.into(),
            reactors: Some(2),
            ..StoreOptions::default()
        }))
    }

    /// Does what is asked for, or says why not.
    pub fn try_call(&self, request: Request, input: &[u8]) -> Result<(Reply, Vec<u8>), Failure> {
        let mut pipe = Pipe {
            input: input.to_vec(),
            ..Pipe::default()
        };
        let reply = self.0.call(request, &mut pipe)?;
        Ok((reply, pipe.output))
    }

    fn call(&self, request: Request, input: &[u8]) -> (Reply, Vec<u8>) {
        self.try_call(request, input)
            .unwrap_or_else(|failure| panic!("{failure:?}"))
    }

    /// Makes the store; `size` is a file's, devices have theirs.
    pub fn init(&self, size: Option<u64>) {
        let request = InitRequest { size, force: true };
        self.call(Request::Init(request), &[]);
    }

    /// Makes the store on a device, whatever else is there only by force.
    pub fn try_init(&self, force: bool) -> Result<(), Failure> {
        let request = InitRequest { size: None, force };
        self.try_call(Request::Init(request), &[]).map(drop)
    }

    pub fn put(&self, bytes: &[u8]) -> ContentId {
        self.try_put(bytes)
            .unwrap_or_else(|failure| panic!("{failure:?}"))
    }

    pub fn try_put(&self, bytes: &[u8]) -> Result<ContentId, Failure> {
        let request = PutRequest {
            pin: true,
            ..PutRequest::default()
        };
        match self.try_call(Request::Put(request), bytes)?.0 {
            Reply::Content(content) => Ok(content.id),
            other => panic!("{other:?}"),
        }
    }

    pub fn get(&self, id: ContentId) -> Vec<u8> {
        self.try_get(id).unwrap_or_else(|failure| panic!("{failure:?}"))
    }

    pub fn try_get(&self, id: ContentId) -> Result<Vec<u8>, Failure> {
        let request = GetRequest {
            id,
            offset: 0,
            length: None,
        };
        Ok(self.try_call(Request::Get(request), &[])?.1)
    }

    pub fn commit(&self, directory: &Path) {
        let committed = self.try_commit(directory);
        committed.unwrap_or_else(|failure| panic!("{failure:?}"));
    }

    pub fn try_commit(&self, directory: &Path) -> Result<(), Failure> {
        let request = CommitRequest {
            directory: directory.to_owned().into(),
            message: "a state".into(),
            ..CommitRequest::default()
        };
        self.try_call(Request::Commit(request), &[]).map(drop)
    }

    /// Commits to a branch, durably.
    pub fn commit_to(&self, branch: &str, message: String, directory: &Path) {
        let request = CommitRequest {
            directory: directory.to_owned().into(),
            branch: Some(branch.into()),
            message,
            ..CommitRequest::default()
        };
        self.call(Request::Commit(request), &[]);
    }

    /// The commits of a branch, the newest first; none if there is no such branch.
    pub fn history(&self, branch: &str) -> Vec<CommitRecord> {
        let request = LogRequest {
            revision: Some(branch.into()),
            directory: "/".into(),
            ..LogRequest::default()
        };
        match self.try_call(Request::Log(request), &[]) {
            Ok((Reply::History(history), _)) => history.commits,
            Err(failure) if failure.class == Class::NotFound => Vec::new(),
            other => panic!("{other:?}"),
        }
    }

    pub fn cat(&self, revision: &str) -> Vec<u8> {
        let request = CatRequest {
            revision: revision.into(),
        };
        self.call(Request::Cat(request), &[]).1
    }

    /// Gives back the space of what nothing keeps.
    pub fn collect(&self) {
        self.call(Request::Collect(CollectRequest::default()), &[]);
    }

    /// What reading and verifying everything finds to be damaged.
    pub fn damage(&self) -> Vec<Damage> {
        match self.call(Request::Check(CheckRequest { read_data: true }), &[]).0 {
            Reply::Checked(checked) => checked.damage,
            other => panic!("{other:?}"),
        }
    }

    pub fn is_whole(&self) {
        let damage = self.damage();
        assert!(damage.is_empty(), "{damage:?}");
    }

    pub fn try_close(self) -> Result<(), Failure> {
        self.0.close()
    }

    pub fn close(self) {
        self.try_close().expect("close");
    }
}

/// Bytes that do not repeat, of a length that is no multiple of anything.
pub fn content(seed: u64) -> Vec<u8> {
    bytes(seed, 3_000_017)
}

/// Bytes that do not repeat.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect()
}

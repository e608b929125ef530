//! One run of the program: its store, its output, its wish to stop.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use helios_engine::ops::{
    Backend, ByteString, Cancel, Class, Client, Failure, InitRequest, Local, Polling, Reply, Request,
    StoreOptions,
};

use super::args::{BackendArg, Global, PollArg};
use super::output::{self, Output};
use super::place::{self, Place};
use super::size;
use super::terminal::Terminal;
use crate::attach::Attached;

/// The cache of a command that opens the store for itself: enough for directories that it meets again. Contents are seldom
/// read twice by one command, and to fill the memory of a server's cache costs it more than it saves.
const COMMAND_CACHE_BYTES: u64 = 32 << 20;

/// Why a command ends early.
#[derive(Debug)]
pub enum Stop {
    /// It failed.
    Failed(Failure),
    /// Nobody reads its output any more.
    Unread,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

impl From<io::Error> for Stop {
    /// Only writes to standard output end here; other input and output make failures of their own.
    fn from(error: io::Error) -> Stop {
        if output::is_broken_pipe(&error) {
            Stop::Unread
        } else {
            Stop::Failed(output::failure(&error))
        }
    }
}

/// Whoever does the work.
enum Opened {
    /// This process.
    Here(Box<Local>),
    /// The process that owns the store.
    There(Attached),
}

impl Opened {
    fn client(&self) -> &dyn Client {
        match self {
            Opened::Here(client) => &**client,
            Opened::There(client) => client,
        }
    }
}

/// One run of the program.
pub struct Session {
    /// Standard output.
    pub output: Output,
    global: Global,
    cancel: Cancel,
    client: Option<Opened>,
}

impl Session {
    /// Nothing is opened yet.
    pub fn new(global: Global, cancel: Cancel) -> Session {
        Session {
            output: Output::new(&global),
            global,
            cancel,
            client: None,
        }
    }

    /// Runs a request that moves no bytes.
    pub fn call(&mut self, request: Request) -> Result<Reply, Stop> {
        let mut terminal = self.terminal();
        Ok(self.client()?.call(request, &mut terminal)?)
    }

    /// Runs a request that reads a content from `input`.
    pub fn call_reading(&mut self, request: Request, input: &mut dyn Read) -> Result<Reply, Stop> {
        let mut terminal = self.terminal().reading(input);
        Ok(self.client()?.call(request, &mut terminal)?)
    }

    /// Runs a request that writes a content to `sink`.
    pub fn call_writing(&mut self, request: Request, sink: &mut dyn Write) -> Result<Reply, Stop> {
        let mut terminal = self.terminal().writing(sink, false);
        Ok(self.client()?.call(request, &mut terminal)?)
    }

    /// Runs a request that writes a content to standard output.
    pub fn call_printing(&mut self, request: Request) -> Result<Reply, Stop> {
        self.client()?;
        let mut terminal = self.terminal();
        let shared = self.output.is_terminal();
        let Some(client) = &self.client else {
            return Err(Failure::new(Class::Failed, "no store is open").into());
        };
        terminal = terminal.writing(self.output.writer(), shared);
        let reply = client.client().call(request, &mut terminal);
        if terminal.unread {
            return Err(Stop::Unread);
        }
        Ok(reply?)
    }

    /// The user's wish to stop, for what is no request.
    pub fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }

    /// Makes a store at `uri`, or where the options say.
    pub fn init(&mut self, uri: Option<&OsStr>, request: InitRequest) -> Result<Reply, Stop> {
        let place = place::choose(uri.or(self.global.store.as_deref()))?;
        if place.default {
            make_home(&place)?;
        }
        let client = self.open(&place.address);
        let mut terminal = self.terminal();
        Ok(client.call(Request::Init(request), &mut terminal)?)
    }

    /// Closes the store and prints what is left; a command is done only when this is.
    pub fn finish(&mut self) -> Result<(), Stop> {
        let closed = match self.client.take() {
            Some(Opened::Here(client)) => client.close(),
            Some(Opened::There(_)) | None => Ok(()),
        };
        self.output.flush()?;
        Ok(closed?)
    }

    fn terminal<'a>(&self) -> Terminal<'a> {
        Terminal::new(self.cancel.clone(), self.global.quiet)
    }

    fn client(&mut self) -> Result<&dyn Client, Failure> {
        if self.client.is_none() {
            let place = place::choose(self.global.store.as_deref())?;
            if let Some(attached) = self.attach(&place.address)? {
                self.client = Some(Opened::There(attached));
            } else {
                let client = self.open(&place.address);
                if place.default && !Path::new(&place.address).exists() {
                    self.first_use(&place, &client)?;
                }
                self.client = Some(Opened::Here(Box::new(client)));
            }
        }
        match &self.client {
            Some(opened) => Ok(opened.client()),
            None => Err(Failure::new(Class::Failed, "no store is open")),
        }
    }

    /// The owner of the store, if there is one that listens.
    fn attach(&self, address: &OsStr) -> Result<Option<Attached>, Failure> {
        if self.global.no_attach {
            return Ok(None);
        }
        match helios_engine::ops::owner_socket(address)? {
            Some(socket) => Attached::connect(&socket, address),
            None => Ok(None),
        }
    }

    /// How many reactors the options ask for.
    pub fn reactors(&self) -> Option<usize> {
        self.global.reactors.map(usize::from)
    }

    /// The store that the options name, or the default one.
    pub fn store_address(&self) -> Result<OsString, Failure> {
        Ok(place::choose(self.global.store.as_deref())?.address)
    }

    /// The store that a server is to own; the default one is made if it is missing.
    pub fn place_to_own(&self) -> Result<StoreOptions, Failure> {
        let place = place::choose(self.global.store.as_deref())?;
        if place.default && !Path::new(&place.address).exists() {
            self.first_use(&place, &self.open(&place.address))?;
        }
        Ok(self.store_options(&place.address))
    }

    /// A client that does the work of this command itself.
    fn open(&self, address: &OsStr) -> Local {
        let mut options = self.store_options(address);
        options.cache_bytes.get_or_insert(COMMAND_CACHE_BYTES);
        Local::new(options)
    }

    fn store_options(&self, address: &OsStr) -> StoreOptions {
        StoreOptions {
            address: address.to_owned(),
            backend: match self.global.backend {
                BackendArg::Auto => Backend::Auto,
                BackendArg::Uring => Backend::Uring,
                BackendArg::Threads => Backend::Threads,
            },
            command_timeout: self.global.command_timeout.map(Duration::from_nanos),
            reactors: self.reactors(),
            polling: match self.global.poll {
                PollArg::Adaptive => Polling::Adaptive,
                PollArg::Busy => Polling::Busy,
            },
            cache_bytes: self.global.cache,
        }
    }

    /// Makes the default store and says so.
    fn first_use(&self, place: &Place, client: &Local) -> Result<(), Failure> {
        make_home(place)?;
        let request = Request::Init(InitRequest {
            size: None,
            force: false,
        });
        let mut terminal = self.terminal();
        match client.call(request, &mut terminal) {
            Ok(Reply::Created(created)) => {
                if !self.global.quiet {
                    // With standard error gone there is nobody to tell.
                    let _ = writeln!(
                        io::stderr().lock(),
                        "helios: made the store {} (a sparse file that may grow to {})",
                        created.store,
                        size::show(created.size)
                    );
                }
                Ok(())
            }
            // Another process was faster.
            Err(failure) if failure.class == Class::Conflict => Ok(()),
            Err(failure) => Err(failure),
            Ok(_) => Err(unexpected()),
        }
    }
}

fn make_home(place: &Place) -> Result<(), Failure> {
    let Some(home) = Path::new(&place.address).parent() else {
        return Ok(());
    };
    std::fs::create_dir_all(home).map_err(|error| {
        Failure::new(Class::Io, format!("create {}: {error}", home.display()))
            .with_hint("name another store with --store PATH or HELIOS_STORE")
    })
}

/// The failure of a reply that does not answer its request.
pub fn unexpected() -> Failure {
    Failure::new(Class::Failed, "the store answered something else than was asked")
        .with_hint("the owner of the store may be another version of helios")
}

/// `path` as the engine wants it.
pub fn absolute(path: &Path) -> Result<ByteString, Failure> {
    std::path::absolute(path)
        .map(ByteString::from)
        .map_err(|error| Failure::new(Class::Io, format!("{}: {error}", path.display())))
}

/// The working directory.
pub fn working_directory() -> Result<ByteString, Failure> {
    std::env::current_dir()
        .map(|path: PathBuf| path.into())
        .map_err(|error| Failure::new(Class::Io, format!("the working directory: {error}")))
}

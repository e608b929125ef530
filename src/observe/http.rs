//! A small HTTP/1.1 server for pages that are made when they are asked for: one thread, one request for each connection.
//!
//! Invariants: a client holds at most `REQUEST_BYTES_MAX` bytes and its page, for at most the patience given for what it does;
//! there are at most `CLIENTS_MAX` of them, and a new one takes the place of the one that has dawdled for longest. So
//! nobody who sends slowly, or nonsense, or nothing, keeps others from their answer.
//! Rejected: a thread for each connection (the limit on threads would have to be a limit on clients all the same); connections that
//! stay open (a scrape every few seconds gains nothing from them, and they would have to be told from those that dawdle).

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use helios_engine::ops::{Class, Failure};
use helios_engine::reactor::{Clock, Nanos};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};

use super::exposition;
use crate::serve::remove_stale;

/// Longest request, in bytes.
const REQUEST_BYTES_MAX: usize = 8 << 10;
/// Headers of one request.
const HEADERS_MAX: usize = 64;
/// Connections at once.
const CLIENTS_MAX: usize = 64;
/// A request must be whole within this time.
const REQUEST_PATIENCE: Duration = Duration::from_secs(5);
/// A page must be taken within this time.
const PAGE_PATIENCE: Duration = Duration::from_secs(10);
/// A client that has its page is given this time to go first; otherwise the system might take back what it has not read yet.
const LEAVE_PATIENCE: Duration = Duration::from_secs(1);
/// Bytes that a client may still send then.
const LEAVE_BYTES_MAX: usize = 64 << 10;
/// Pause after the system refused to accept, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where the endpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Host and port.
    Tcp(String),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "tcp:{address}"),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What is answered to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Status code of HTTP.
    pub status: u16,
    /// Of its body.
    pub content_type: &'static str,
    /// What it says.
    pub body: Vec<u8>,
}

impl Page {
    /// A line for people.
    pub fn text(status: u16, text: &str) -> Page {
        Page {
            status,
            content_type: "text/plain; charset=utf-8",
            body: text.as_bytes().to_vec(),
        }
    }

    /// A JSON value.
    pub fn json(status: u16, value: &serde_json::Value) -> Page {
        Page {
            status,
            content_type: "application/json",
            body: format!("{value}\n").into_bytes(),
        }
    }

    /// Metrics.
    pub fn metrics(text: String) -> Page {
        Page {
            status: 200,
            content_type: exposition::CONTENT_TYPE,
            body: text.into_bytes(),
        }
    }
}

/// Makes the page at a path; `None` if there is none.
pub type Pages = Box<dyn FnMut(&str) -> Option<Page> + Send>;

/// A socket that listens.
#[derive(Debug)]
pub enum Listener {
    /// On the network.
    Tcp(TcpListener),
    /// In the file system. The path is removed in the end, if the socket was made here.
    Unix(UnixListener, Option<Made>),
}

/// A socket file of one's own.
#[derive(Debug)]
pub struct Made {
    path: PathBuf,
    /// Device and inode.
    is: (u64, u64),
}

impl Drop for Made {
    fn drop(&mut self) {
        let found = std::fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| (found.dev(), found.ino()) == self.is) {
            // One left behind is found to be stale by the next owner.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn refused(address: &Address, why: &str) -> Failure {
    Failure::new(Class::Invalid, format!("metrics at {address}: {why}"))
        .with_hint("name another place with --metrics tcp:HOST:PORT or --metrics unix:PATH")
}

impl Listener {
    /// Listens. A socket in the file system is its user's alone (mode 0600).
    ///
    /// # Errors
    /// The address is taken, or not this machine's, or may not be used.
    pub fn bind(address: &Address) -> Result<Listener, Failure> {
        let refused = |error: io::Error| refused(address, &error.to_string());
        match address {
            Address::Tcp(place) => Ok(Listener::Tcp(TcpListener::bind(place).map_err(refused)?)),
            Address::Unix(path) => bind_unix(path).map_err(refused),
        }
    }

    /// Where it is; the port is the real one if any was asked for.
    pub fn address(&self) -> Address {
        match self {
            Listener::Tcp(listener) => {
                let address = listener.local_addr();
                Address::Tcp(address.map_or_else(|_| "unknown".into(), |address| address.to_string()))
            }
            Listener::Unix(listener, _) => {
                let address = listener.local_addr().ok();
                let path = address.and_then(|address| address.as_pathname().map(Path::to_owned));
                Address::Unix(path.unwrap_or_default())
            }
        }
    }

    fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Listener::Tcp(listener) => listener.set_nonblocking(true),
            Listener::Unix(listener, _) => listener.set_nonblocking(true),
        }
    }

    fn accept(&self) -> io::Result<Socket> {
        let socket = match self {
            Listener::Tcp(listener) => {
                let socket = listener.accept()?.0;
                socket.set_nonblocking(true)?;
                Socket::Tcp(socket)
            }
            Listener::Unix(listener, _) => {
                let socket = listener.accept()?.0;
                socket.set_nonblocking(true)?;
                Socket::Unix(socket)
            }
        };
        Ok(socket)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener, _) => listener.as_fd(),
        }
    }
}

fn bind_unix(path: &Path) -> io::Result<Listener> {
    let path = std::path::absolute(path)?;
    remove_stale(&path).map_err(io::Error::other)?;
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    let metadata = std::fs::metadata(&path)?;
    let is = (metadata.dev(), metadata.ino());
    Ok(Listener::Unix(listener, Some(Made { path, is })))
}

/// A connection.
#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => socket.read(buffer),
            Socket::Unix(socket) => socket.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(socket) => socket.write(bytes),
            Socket::Unix(socket) => socket.write(bytes),
        }
    }

    fn end_writing(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(socket) => socket.shutdown(Shutdown::Write),
            Socket::Unix(socket) => socket.shutdown(Shutdown::Write),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Tcp(socket) => socket.as_fd(),
            Socket::Unix(socket) => socket.as_fd(),
        }
    }
}

/// What a connection is about to do.
#[derive(Debug)]
enum State {
    /// A request arrives.
    Reading(Vec<u8>),
    /// The answer goes out, from a byte on.
    Writing(Vec<u8>, usize),
    /// The client is to go; bytes it has sent meanwhile.
    Leaving(usize),
}

#[derive(Debug)]
struct Client {
    socket: Socket,
    state: State,
    until: Nanos,
}

/// What comes of a step of a connection.
enum Step {
    /// Something has happened: maybe more can.
    Again,
    /// The socket has to be waited for.
    Wait,
    /// It is over.
    Gone,
}

/// The endpoint; dropping it ends it.
#[derive(Debug)]
pub struct Endpoint {
    address: Address,
    /// Dropped, it wakes the thread for good.
    bell: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Endpoint {
    /// Answers requests on a thread of its own.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(listener: Listener, clock: Clock, pages: Pages) -> Result<Endpoint, Failure> {
        let address = listener.address();
        let refused = |error: io::Error| refused(&address, &error.to_string());
        listener.set_nonblocking().map_err(refused)?;
        let (bell, ears) = UnixStream::pair().map_err(refused)?;
        let mut server = Server {
            listener,
            clients: Vec::new(),
            clock,
            pages,
            accept_from: Nanos(0),
        };
        let thread = std::thread::Builder::new()
            .name("metrics".into())
            .spawn(move || server.run(&ears))
            .map_err(refused)?;
        Ok(Endpoint {
            address,
            bell: Some(bell),
            thread: Some(thread),
        })
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        drop(self.bell.take());
        if let Some(thread) = self.thread.take() {
            // A panic was reported by its thread, and cost nothing but the endpoint.
            let _ = thread.join();
        }
    }
}

struct Server {
    listener: Listener,
    /// In the order in which they came.
    clients: Vec<Client>,
    clock: Clock,
    pages: Pages,
    /// Nobody is accepted before.
    accept_from: Nanos,
}

impl Server {
    fn run(&mut self, bell: &UnixStream) {
        loop {
            let now = self.clock.now();
            let accepts = now >= self.accept_from;
            let mut files = vec![PollFd::new(bell, PollFlags::IN)];
            files.extend(self.clients.iter().map(|client| {
                let interest = match client.state {
                    State::Writing(..) => PollFlags::OUT,
                    State::Reading(_) | State::Leaving(_) => PollFlags::IN,
                };
                PollFd::new(&client.socket, interest)
            }));
            if accepts {
                files.push(PollFd::new(&self.listener, PollFlags::IN));
            }
            let paused = (!accepts).then_some(self.accept_from);
            let next = self.clients.iter().map(|client| client.until).chain(paused).min();
            let timeout = next.map(|until| timespec(until.since(now)));
            // An interrupted wait is one without events; the descriptors are our own.
            let events = poll(&mut files, timeout.as_ref()).unwrap_or(0);
            let ready: Vec<bool> = files
                .iter()
                .map(|file| events > 0 && !file.revents().is_empty())
                .collect();
            if ready[0] {
                return;
            }
            // Whoever has something to say is heard before its time is looked at: the thread may have been late itself.
            let mut number = 0;
            let (pages, clock) = (&mut self.pages, &self.clock);
            self.clients.retain_mut(|client| {
                number += 1;
                let lives = !ready[number] || client.go_on(pages, clock);
                lives && clock.now() < client.until
            });
            if accepts && ready.last() == Some(&true) {
                self.accept_all();
            }
        }
    }

    fn accept_all(&mut self) {
        for _ in 0..CLIENTS_MAX {
            let socket = match self.listener.accept() {
                Ok(socket) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    tracing::warn!("a client of the metrics cannot come in: {error}");
                    self.accept_from = self.clock.now().after(ACCEPT_PAUSE);
                    return;
                }
            };
            if self.clients.len() == CLIENTS_MAX {
                let dawdles = |client: &Client| !matches!(client.state, State::Writing(..));
                let oldest = self.clients.iter().position(dawdles).unwrap_or(0);
                self.clients.remove(oldest);
            }
            self.clients.push(Client {
                socket,
                state: State::Reading(Vec::new()),
                until: self.clock.now().after(REQUEST_PATIENCE),
            });
        }
    }
}

impl Client {
    /// Does what can be done now; false if the connection is over.
    fn go_on(&mut self, pages: &mut Pages, clock: &Clock) -> bool {
        loop {
            match self.step(pages, clock) {
                Ok(Step::Again) => {}
                Ok(Step::Wait) => return true,
                Ok(Step::Gone) => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }

    fn step(&mut self, pages: &mut Pages, clock: &Clock) -> io::Result<Step> {
        match &mut self.state {
            State::Reading(request) => {
                let mut buffer = [0; 2048];
                let received = self.socket.read(&mut buffer)?;
                if received == 0 {
                    return Ok(Step::Gone);
                }
                request.extend_from_slice(&buffer[..received]);
                if let Some(answer) = answer(request, pages) {
                    self.state = State::Writing(answer, 0);
                    self.until = clock.now().after(PAGE_PATIENCE);
                }
                Ok(Step::Again)
            }
            State::Writing(answer, sent) => {
                *sent += self.socket.write(&answer[*sent..])?;
                if *sent == answer.len() {
                    self.socket.end_writing()?;
                    self.state = State::Leaving(0);
                    self.until = clock.now().after(LEAVE_PATIENCE);
                }
                Ok(Step::Again)
            }
            State::Leaving(taken) => {
                let received = self.socket.read(&mut [0; 2048])?;
                *taken += received;
                if received == 0 || *taken > LEAVE_BYTES_MAX {
                    return Ok(Step::Gone);
                }
                // One step at a time: others wait.
                Ok(Step::Wait)
            }
        }
    }
}

/// The answer to a request, if it is whole or will never be one.
fn answer(request: &[u8], pages: &mut Pages) -> Option<Vec<u8>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut headers);
    let (page, more) = match parsed.parse(request) {
        Ok(httparse::Status::Complete(_)) => page(&parsed, pages),
        Ok(httparse::Status::Partial) if request.len() <= REQUEST_BYTES_MAX => return None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            let what =
                format!("a request has at most {REQUEST_BYTES_MAX} bytes and {HEADERS_MAX} headers here\n");
            (Page::text(431, &what), "")
        }
        Err(httparse::Error::Version) => (Page::text(505, "HTTP/1.1 is spoken here\n"), ""),
        Err(error) => (Page::text(400, &format!("this is no request: {error}\n")), ""),
    };
    let is_head = parsed.method == Some("HEAD");
    let mut answer = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: close\r\n{more}\r\n",
        page.status,
        reason(page.status),
        page.content_type,
        page.body.len()
    )
    .into_bytes();
    if !is_head {
        answer.extend_from_slice(&page.body);
    }
    Some(answer)
}

/// The page of a whole request, and what its head says besides.
fn page(request: &httparse::Request<'_, '_>, pages: &mut Pages) -> (Page, &'static str) {
    let (method, target) = (request.method.unwrap_or(""), request.path.unwrap_or(""));
    let hosts = request.headers.iter();
    let hosts = hosts
        .filter(|header| header.name.eq_ignore_ascii_case("host"))
        .count();
    // RFC 9112, section 3.2.
    if request.version == Some(1) && hosts != 1 {
        return (Page::text(400, "a request names its host once\n"), "");
    }
    let path = target_path(target);
    let is_known_method = matches!(method, "GET" | "HEAD");
    if !is_known_method && !KNOWN.contains(&path) {
        return (Page::text(404, NOT_FOUND), "");
    }
    if !is_known_method {
        return (
            Page::text(405, "pages are here to be read\n"),
            "Allow: GET, HEAD\r\n",
        );
    }
    (pages(path).unwrap_or_else(|| Page::text(404, NOT_FOUND)), "")
}

/// Paths that may exist: asking for one with another method makes no page.
const KNOWN: [&str; 5] = ["/", "/metrics", "/healthz", "/livez", "/readyz"];
const NOT_FOUND: &str = "there are /metrics, /healthz, /livez and /readyz here\n";

/// The path of a target, which may be a whole URI and have a query.
fn target_path(target: &str) -> &str {
    let target = target.split(['?', '#']).next().unwrap_or(target);
    match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => rest.find('/').map_or("/", |at| &rest[at..]),
        _ => target,
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        431 => "Request Header Fields Too Large",
        505 => "HTTP Version Not Supported",
        _ => "Service Unavailable",
    }
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;

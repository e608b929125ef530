//! Where clients come in: the control socket, and who may use it.
//!
//! The socket belongs to its user alone (mode 0600), unless others are allowed; whoever connects is asked by the kernel for its
//! user (`SO_PEERCRED`), so that a socket that others can reach by accident lets nobody else in.
//! Invariants: only a socket that nobody answers is replaced, and only one's own is removed.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use helios_engine::ops::{Class, Failure, Host};
use helios_engine::reactor::{Local, Watched};
use rustix::net::sockopt::socket_peercred;

use super::connection::{Peer, attend};
use super::counters::TurnedAway;
use super::{CONNECTIONS_MAX, Server, io_failure};
use crate::wire::message::{Goodbye, Message};

/// Longest path of a socket, in bytes: `sun_path` of unix(7) with its end.
const PATH_BYTES_MAX: usize = 107;
/// When a client for which there is no place may come again, in milliseconds.
const TOO_MANY_RETRY_MS: u64 = 500;
/// Pause after the system refused to accept, for example for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The socket.
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the socket made; absent if somebody else made it.
    made: Option<(u64, u64)>,
}

fn refused(path: &Path, why: &str) -> Failure {
    Failure::new(
        Class::Invalid,
        format!("control socket {}: {why}", path.display()),
    )
    .with_hint("name another with --control unix:PATH")
}

impl Control {
    /// Listens at a path, or where this store's clients look first.
    pub fn bind(host: &Host, path: Option<&Path>) -> Result<Control, Failure> {
        let path = match path {
            Some(path) => {
                std::path::absolute(path).map_err(|error| io_failure("find the control socket", &error))?
            }
            None => host.default_socket()?,
        };
        if path.as_os_str().len() > PATH_BYTES_MAX {
            return Err(refused(
                &path,
                &format!("its path is longer than the {PATH_BYTES_MAX} bytes that the system allows"),
            ));
        }
        remove_stale(&path).map_err(|why| refused(&path, &why))?;
        let listener = UnixListener::bind(&path).map_err(|error| refused(&path, &error.to_string()))?;
        let made = std::fs::metadata(&path)
            .and_then(|metadata| {
                listener.set_nonblocking(true)?;
                Ok((metadata.dev(), metadata.ino()))
            })
            .map_err(|error| refused(&path, &error.to_string()))?;
        Ok(Control {
            listener,
            path,
            made: Some(made),
        })
    }

    /// Listens on a socket that the service manager has made, whose name and mode stay its own.
    pub fn inherited(listener: UnixListener) -> Result<Control, Failure> {
        let address = listener.local_addr();
        let address =
            address.map_err(|error| io_failure("look at the control socket that was passed", &error))?;
        let Some(path) = address.as_pathname().map(Path::to_owned) else {
            return Err(Failure::new(
                Class::Invalid,
                "the control socket that was passed has no path, so that commands could not find it",
            )
            .with_hint("set ListenStream= of its unit to an absolute path"));
        };
        let prepared = listener.set_nonblocking(true);
        prepared.map_err(|error| refused(&path, &error.to_string()))?;
        Ok(Control {
            listener,
            path,
            made: None,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Accepts clients for a server, on its first reactor, and gives each to the next reactor.
    pub fn accept_for(&self, server: &Arc<Server>) -> Result<(), Failure> {
        let mode = if server.allow_uids.is_empty() {
            0o600
        } else {
            0o666
        };
        if self.made.is_some() {
            std::fs::set_permissions(&self.path, std::fs::Permissions::from_mode(mode))
                .map_err(|error| refused(&self.path, &error.to_string()))?;
        }
        let listener = self.listener.try_clone();
        let listener = listener.map_err(|error| refused(&self.path, &error.to_string()))?;
        let server = Arc::clone(server);
        let reactors = server.host.store().runtime().handles().to_vec();
        reactors[0].clone().spawn(move |local| async move {
            match local.watch(listener) {
                Ok(listener) => accept_all(local, &listener, &server).await,
                Err(error) => tracing::error!("clients cannot come in: {error}"),
            }
        });
        Ok(())
    }

    /// Lets nobody in any more.
    pub fn close(self) {
        let found = std::fs::symlink_metadata(&self.path);
        if found.is_ok_and(|found| Some((found.dev(), found.ino())) == self.made) {
            // One left behind is found to be stale by the next owner.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Makes way at `path`, if what is there is a socket that nobody answers.
pub fn remove_stale(path: &Path) -> Result<(), String> {
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    if !found.file_type().is_socket() {
        return Err("something else is there".into());
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err("a socket of another user is there".into());
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| error.to_string())
        }
        Ok(_) => Err("another process listens there".into()),
        Err(error) => Err(error.to_string()),
    }
}

async fn accept_all(local: Local, listener: &Watched<UnixListener>, server: &Arc<Server>) {
    let reactors = server.host.store().runtime().handles().to_vec();
    while !server.is_ending() {
        let socket = match listener.reading(|listener| listener.accept()).await {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!("a client cannot come in: {error}");
                local.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let peer = match admit(server, &socket) {
            Ok(peer) => peer,
            Err((why, reason)) => {
                server.counters.turned_away(why);
                tracing::warn!("a client was sent away: {reason}");
                // It is a few bytes into an empty socket.
                let goodbye = Goodbye {
                    reason,
                    retry_after_ms: (why == TurnedAway::TooMany).then_some(TOO_MANY_RETRY_MS),
                };
                let _ = crate::wire::stream::Departing::new(goodbye.frame(0)).send(&socket);
                continue;
            }
        };
        let number = server.accepted.fetch_add(1, Ordering::Relaxed);
        let next = usize::try_from(number).unwrap_or(0) % reactors.len();
        let server = Arc::clone(server);
        server.connections.fetch_add(1, Ordering::AcqRel);
        reactors[next].clone().spawn(move |local| async move {
            attend(local, socket, peer, number, Arc::clone(&server)).await;
            server.connections.fetch_sub(1, Ordering::AcqRel);
        });
    }
}

/// Whether a client may come in; the error is what it is told.
fn admit(server: &Server, socket: &UnixStream) -> Result<Peer, (TurnedAway, String)> {
    let failed = |reason: String| (TurnedAway::Failed, reason);
    let peer = socket_peercred(socket)
        .map_err(|error| failed(format!("the system does not say whose process it is: {error}")))?;
    let (uid, own) = (peer.uid.as_raw(), rustix::process::geteuid().as_raw());
    if uid != own && !server.allow_uids.contains(&uid) {
        let reason = format!(
            "the store is served by user {own}, and user {uid} is not allowed in; the server allows others with --allow-uid"
        );
        return Err((TurnedAway::NotAllowed, reason));
    }
    if server.connections.load(Ordering::Acquire) >= CONNECTIONS_MAX {
        let reason = format!("{CONNECTIONS_MAX} clients are here already");
        return Err((TurnedAway::TooMany, reason));
    }
    let prepared = socket.set_nonblocking(true);
    prepared.map_err(|error| failed(error.to_string()))?;
    Ok(Peer { uid })
}

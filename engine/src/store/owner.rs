//! Who owns a store: one process that writes, or any number that only read.
//!
//! The right is a kernel lock (`flock`) that ends with its holder, however it ends; nothing has to be cleaned up
//! after `kill -9`. What is locked is the store itself (the inode, so symbolic and hard links collide) and, for
//! owners, a lock file that says who they are: `PATH.lock` beside a file. Block devices and addresses outside the file
//! system have theirs, named by a hash of the canonical address, in the first usable of
//! `/run/helios` (root), `$XDG_RUNTIME_DIR/helios`, `/tmp/helios-UID`; root does not follow `$XDG_RUNTIME_DIR`, since
//! `sudo` may or may not keep it and both must meet in one place. A block device is also claimed with `O_EXCL`, which
//! collides with mounts, partitions and other users' owners.
//!
//! Invariants: the lock file is removed only by an owner that still holds it, and a lock counts only if its file is
//! still the one under that name; its record is written in one piece and carries a checksum.
//! Rejected: a pid file without a lock (a reused pid looks like an owner); POSIX record locks (closing any descriptor
//! of the file drops them).

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};

/// What can be owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A store in a file or on a block device, under any of its names. It must exist.
    Path(PathBuf),
    /// A store the file system does not know, by its canonical address (`nvme:0000:5e:00.0/1`).
    Address(String),
}

/// How a store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reads and writes: excludes everyone else.
    Exclusive,
    /// Reads only: excludes owners, not other readers.
    Shared,
}

/// A live owner, as its lock file describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// When it started, in clock ticks since boot (`/proc/PID/stat`): tells it from a later process of the same id.
    pub started: u64,
    /// Where it listens, if it does.
    pub socket: Option<PathBuf>,
}

/// The right to use a store; ends when dropped, or with the process.
#[derive(Debug)]
pub struct Owner {
    /// The store itself, locked; none for an address.
    _store: Option<File>,
    /// The lock file; none for readers of a path, who leave no trace.
    lock: Option<(File, PathBuf)>,
    access: Access,
}

/// Times a lock file may vanish under us (each time another owner has come and gone).
const ATTEMPTS: usize = 100;
/// How often, and how far apart, a block device's lock is tried.
const PROBER_ATTEMPTS: u32 = 20;
const PROBER_WAIT: Duration = Duration::from_millis(10);
/// Longest path of a socket: `sun_path` of unix(7) with its end.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// Longest record a lock file may hold, in bytes.
const RECORD_BYTES_MAX: usize = 8192;

impl Owner {
    /// Takes the store, or says who has it. Waits for nobody (on a block device 0.2 s, for the device manager).
    ///
    /// # Errors
    /// [`Error::InUse`] names the process; [`Error::Refused`] if something that cannot be named holds the store
    /// (a mount, a process of another container); [`Error::Path`] if the lock cannot be made; [`Error::NotFound`].
    pub fn acquire(subject: &Subject, access: Access) -> Result<Owner> {
        let store = match subject {
            Subject::Path(path) => Some(lock_store(path, access)?),
            Subject::Address(_) => None,
        };
        let lock = if store.is_none() || access == Access::Exclusive {
            Some(lock_beside(subject, access)?)
        } else {
            None
        };
        let owner = Owner {
            _store: store,
            lock,
            access,
        };
        owner.publish(None)?;
        Ok(owner)
    }

    /// Writes into the lock file who owns the store and where it listens. Readers publish nothing.
    pub fn publish(&self, socket: Option<&Path>) -> Result<()> {
        let (Some((file, path)), Access::Exclusive) = (&self.lock, self.access) else {
            return Ok(());
        };
        let record = encode(&Holder {
            pid: std::process::id(),
            started: started(std::process::id()).unwrap_or(0),
            socket: socket.map(Path::to_path_buf),
        })?;
        file.write_all_at(record.as_bytes(), 0)
            .and_then(|()| file.set_len(record.len() as u64))
            .map_err(|source| Error::path("write the lock file", path, source))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Readers share the file, so none of them may remove it.
        if let (Some((file, path)), Access::Exclusive) = (&self.lock, self.access)
            && same_file(file, path)
        {
            // An empty file left behind is harmless: the next owner locks and fills it.
            let _ = file.set_len(0);
            let _ = std::fs::remove_file(path);
        }
    }
}

/// The process that owns a store now, if one does and has said so: where to forward commands.
pub fn holder(subject: &Subject) -> Result<Option<Holder>> {
    let path = lock_path(subject)?;
    match File::open(&path) {
        // No lock is tried: it could meet that of a process about to own the store. Owners erase their record when
        // they let go, and a dead one's is known by its process.
        Ok(file) => Ok(decode(&file).filter(is_alive)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::path("open the lock file", path, error)),
    }
}

/// Where the owner of a store listens if it is not told otherwise: beside the lock file, or with the lock files of stores
/// that have no file, if that path is too long for a socket.
///
/// # Errors
/// There is no directory for it.
pub fn default_socket(subject: &Subject) -> Result<PathBuf> {
    let lock = lock_path(subject)?;
    let beside = lock.with_extension("sock");
    if beside.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
        return Ok(beside);
    }
    let name = &blake3::hash(lock.as_os_str().as_bytes()).to_hex()[..32];
    Ok(runtime_directory()?.join(format!("{name}.sock")))
}

fn try_lock(file: &File, access: Access) -> Result<(), TryLockError> {
    match access {
        Access::Exclusive => file.try_lock(),
        Access::Shared => file.try_lock_shared(),
    }
}

/// Locks the inode behind `path`.
fn lock_store(path: &Path, access: Access) -> Result<File> {
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::not_found(format!("store {}", path.display())),
        _ => Error::path("open", path, error),
    })?;
    let block = metadata.file_type().is_block_device();
    if !block && !metadata.is_file() {
        return Err(Error::NotAStore {
            store: path.display().to_string(),
            reason: "it is neither a file nor a block device".into(),
        });
    }
    let claim = if block && access == Access::Exclusive {
        rustix::fs::OFlags::EXCL.bits()
    } else {
        0
    };
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(claim as i32) // the bits of open(2), all below 2^31
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(code) if code == rustix::io::Errno::BUSY.raw_os_error() => busy(path, None),
            _ => Error::path("open", path, error),
        })?;
    for attempt in 0.. {
        match try_lock(&file, access) {
            Ok(()) => break,
            // The device manager locks block devices for a moment while it looks what is on them.
            Err(TryLockError::WouldBlock) if block && attempt < PROBER_ATTEMPTS => wait_for_prober(),
            Err(TryLockError::WouldBlock) => return Err(busy(path, Some(&file))),
            Err(TryLockError::Error(error)) => return Err(Error::path("lock", path, error)),
        }
    }
    Ok(file)
}

#[allow(
    clippy::disallowed_methods,
    reason = "before the store is open there is no reactor to wait in"
)]
fn wait_for_prober() {
    std::thread::sleep(PROBER_WAIT);
}

/// The error for a store at `path` that somebody else has; `file` is what could not be locked.
fn busy(path: &Path, file: Option<&File>) -> Error {
    let recorded = holder(&Subject::Path(path.to_path_buf())).ok().flatten();
    let pid = recorded
        .map(|holder| holder.pid)
        .or_else(|| file.and_then(lock_pid));
    in_use(&path.display().to_string(), pid)
}

fn in_use(store: &str, pid: Option<u32>) -> Error {
    match pid {
        Some(pid) => Error::InUse {
            store: store.to_owned(),
            pid,
        },
        None => Error::Refused {
            what: format!(
                "store {store} is in use by something that cannot be named: a mount, or a process of another user \
                 or container; stop it first"
            ),
        },
    }
}

/// Locks the lock file of a subject, made if it is not there.
fn lock_beside(subject: &Subject, access: Access) -> Result<(File, PathBuf)> {
    let path = lock_path(subject)?;
    for _ in 0..ATTEMPTS {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o644)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32) // as above
            .open(&path)
            .map_err(|error| Error::path("create the lock file", &path, error))?;
        match try_lock(&file, access) {
            Ok(()) if same_file(&file, &path) => return Ok((file, path)),
            Ok(()) => {} // its owner removed it between our open and our lock
            Err(TryLockError::WouldBlock) => {
                let pid = decode(&file).filter(is_alive).map(|holder| holder.pid);
                let store = match subject {
                    Subject::Path(path) => path.display().to_string(),
                    Subject::Address(address) => address.clone(),
                };
                return Err(in_use(&store, pid.or_else(|| lock_pid(&file))));
            }
            Err(TryLockError::Error(error)) => return Err(Error::path("lock", path, error)),
        }
    }
    Err(Error::path(
        "lock",
        path,
        io::Error::from(io::ErrorKind::ResourceBusy),
    ))
}

/// Whether `path` still leads to `file`.
fn same_file(file: &File, path: &Path) -> bool {
    match (file.metadata(), std::fs::symlink_metadata(path)) {
        (Ok(held), Ok(named)) => (held.dev(), held.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Where the lock file of a subject is.
fn lock_path(subject: &Subject) -> Result<PathBuf> {
    let address = match subject {
        Subject::Address(address) => address.clone(),
        Subject::Path(path) => {
            let real = path
                .canonicalize()
                .map_err(|error| Error::path("open", path, error))?;
            let metadata = real
                .metadata()
                .map_err(|error| Error::path("open", path, error))?;
            if !metadata.file_type().is_block_device() {
                let mut name = real.into_os_string();
                name.push(".lock");
                return Ok(PathBuf::from(name));
            }
            format!("block:{:x}", metadata.rdev())
        }
    };
    let name = &blake3::hash(address.as_bytes()).to_hex()[..32];
    Ok(runtime_directory()?.join(format!("{name}.lock")))
}

/// The directory for lock files without a file beside them; see the top of this file.
fn runtime_directory() -> Result<PathBuf> {
    let user = rustix::process::geteuid();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|value| !value.is_empty());
    let path = match runtime {
        _ if user.is_root() => PathBuf::from("/run/helios"),
        Some(runtime) => Path::new(&runtime).join("helios"),
        None => PathBuf::from(format!("/tmp/helios-{}", user.as_raw())),
    };
    match std::fs::DirBuilder::new().mode(0o755).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Error::path("create the directory for lock files", path, error));
        }
        _ => {}
    }
    // Somebody else's directory (or a link to it) under /tmp would let them take the lock away.
    let found = std::fs::symlink_metadata(&path).map_err(|error| Error::path("open", &path, error))?;
    if !found.is_dir() || found.uid() != user.as_raw() {
        return Err(Error::Refused {
            what: format!(
                "{} is not a directory of the calling user; remove it",
                path.display()
            ),
        });
    }
    Ok(path)
}

fn encode(holder: &Holder) -> Result<String> {
    let mut text = format!("helios owner 1\npid {}\nstarted {}\n", holder.pid, holder.started);
    if let Some(socket) = &holder.socket {
        let socket = socket.to_str().filter(|name| !name.contains('\n'));
        let socket =
            socket.ok_or_else(|| Error::invalid("control socket", "its path must be one line of UTF-8"))?;
        text.push_str(&format!("socket {socket}\n"));
    }
    let sum = &blake3::hash(text.as_bytes()).to_hex()[..16];
    text.push_str(&format!("end {sum}\n"));
    if text.len() > RECORD_BYTES_MAX {
        return Err(Error::invalid("control socket", "its path is too long"));
    }
    Ok(text)
}

/// The record in a lock file, if it is whole.
fn decode(file: &File) -> Option<Holder> {
    let mut bytes = vec![0; RECORD_BYTES_MAX];
    let length = file.read_at(&mut bytes, 0).ok()?;
    let text = std::str::from_utf8(&bytes[..length]).ok()?;
    let (body, sum) = text.split_once("\nend ")?;
    let body = format!("{body}\n");
    if sum.lines().next()? != &blake3::hash(body.as_bytes()).to_hex()[..16] {
        return None;
    }
    let field = |name: &str| body.lines().find_map(|line| line.strip_prefix(name));
    Some(Holder {
        pid: field("pid ")?.parse().ok()?,
        started: field("started ")?.parse().ok()?,
        socket: field("socket ").map(PathBuf::from),
    })
}

/// Whether the process of a record is the one that wrote it.
fn is_alive(holder: &Holder) -> bool {
    started(holder.pid) == Some(holder.started)
}

/// When a process started, in clock ticks since boot.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is a file name in parentheses and may hold anything; the start time is the 22nd.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

/// The process that holds a `flock` on a file, as the kernel knows it.
fn lock_pid(file: &File) -> Option<u32> {
    let metadata = file.metadata().ok()?;
    let (major, minor) = (
        rustix::fs::major(metadata.dev()),
        rustix::fs::minor(metadata.dev()),
    );
    let place = format!("{major:02x}:{minor:02x}:{}", metadata.ino());
    let inode = format!(":{}", metadata.ino());
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let held: Vec<Vec<&str>> = locks
        .lines()
        .map(|line| line.split_ascii_whitespace().collect())
        .filter(|fields: &Vec<&str>| fields.get(1) == Some(&"FLOCK") && fields.len() > 5)
        .collect();
    // Some file systems show programs another device number than the kernel's own: then the inode has to do.
    let exact = held.iter().find(|fields| fields[5] == place);
    let found = exact.or_else(|| held.iter().find(|fields| fields[5].ends_with(&inode)))?;
    found[4].parse().ok()
}

#[cfg(test)]
#[path = "owner_tests.rs"]
mod tests;

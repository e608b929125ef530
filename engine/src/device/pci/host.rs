//! The machine whose devices are looked at and changed: its files, its programs, and the rights of this process.
//!
//! Owns every access to the machine. Invariants: paths are absolute on that machine and are joined to its root here and
//! nowhere else; what is read is bounded, and text that makes no sense is as good as none.
//! Rejected: paths as constants; then nothing could be tested without root, NVMe devices and the will to lose them.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::fs::{Access, AtFlags, CWD, OFlags};
use rustix::process::Resource;

/// Longest attribute that is read, in bytes.
const TEXT_BYTES_MAX: u64 = 64 << 10;
/// Longest list of the kernel that is read, in bytes: there are machines with tens of thousands of file systems.
const LIST_BYTES_MAX: u64 = 64 << 20;
/// Where programs are, whatever the caller's own path is: many a root shell leaves the system's directories out.
const PROGRAMS: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// How long the kernel is left alone between two looks at what it does.
const PAUSE: Duration = Duration::from_millis(20);
/// Looks at what the kernel does before it is given up: about ten seconds.
const LOOKS: u32 = 500;

/// How a program ended.
#[derive(Debug, Clone, Default)]
pub(super) struct Ran {
    /// Exit code; `None` for a signal.
    pub code: Option<i32>,
    /// Standard output.
    pub output: String,
    /// Standard error, on one line.
    pub complaint: String,
}

/// What a machine does, apart from showing files. Tests have one of their own.
pub(super) trait System: Send + Sync {
    /// Writes an attribute of the kernel, in one piece.
    fn write(&self, path: &Path, text: &str) -> io::Result<()>;
    /// Runs one of the system's programs to its end.
    fn run(&self, program: &str, arguments: &[&OsStr]) -> io::Result<Ran>;
    /// Opens the block device `number` (major, minor) for reading; `alone` fails with `ResourceBusy` where the kernel
    /// has given it to somebody, and keeps it from everybody until the file is closed.
    fn open_block(&self, path: &Path, number: &str, alone: bool) -> io::Result<File>;
    /// Opens a device for reading and writing, and closes it again.
    fn try_open(&self, path: &Path) -> io::Result<()>;
    /// Makes `user` the owner of a file or directory.
    fn give(&self, path: &Path, user: u32) -> io::Result<()>;
    /// Whether this process may make files in a directory.
    fn may_fill(&self, path: &Path) -> bool;
    /// The user this process acts as.
    fn user(&self) -> u32;
    /// Bytes this process may lock in memory; `None` without a limit.
    fn lockable_bytes(&self) -> Option<u64>;
    /// Gives the kernel a little time.
    fn pause(&self);
}

/// Whether the user wants to stop.
type Stop = dyn Fn() -> bool + Send + Sync;

/// A machine.
#[derive(Clone)]
pub struct Host {
    root: PathBuf,
    system: Arc<dyn System>,
    stop: Option<Arc<Stop>>,
    stopped: Arc<AtomicBool>,
}

impl Default for Host {
    fn default() -> Host {
        Host::this()
    }
}

impl Host {
    /// The one this process runs on.
    pub fn this() -> Host {
        Host {
            root: PathBuf::from("/"),
            system: Arc::new(ThisSystem),
            stop: None,
            stopped: Arc::default(),
        }
    }

    /// The same machine; when `stop` says so, waiting for the kernel ends at once, and what was begun is undone.
    pub fn until(self, stop: impl Fn() -> bool + Send + Sync + 'static) -> Host {
        Host {
            stop: Some(Arc::new(stop)),
            ..self
        }
    }

    /// One whose files are below `root`.
    #[cfg(test)]
    pub(super) fn made_up(root: &Path, system: Arc<dyn System>) -> Host {
        Host {
            root: root.to_owned(),
            system,
            stop: None,
            stopped: Arc::default(),
        }
    }

    /// Whether this process is root.
    pub fn is_root(&self) -> bool {
        self.system.user() == 0
    }

    pub(super) fn system(&self) -> &dyn System {
        &*self.system
    }

    /// Where a path of the machine really is.
    pub(super) fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The text of an attribute, trimmed; `None` where there is none, or an empty one.
    pub(super) fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        let bytes = self.read(path, TEXT_BYTES_MAX).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let text = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
        // Whatever a device says of itself ends on somebody's terminal.
        let clean = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
        (!text.is_empty()).then(|| clean.collect())
    }

    /// The number in an attribute; `None` where there is none.
    pub(super) fn number(&self, path: impl AsRef<Path>) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// A list of the kernel, as bytes: it may hold paths. All of it or an error, because what is missing in it would
    /// count as unused.
    pub(super) fn list(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let path = path.as_ref();
        let bytes = self
            .read(path, LIST_BYTES_MAX)
            .map_err(|error| named("read", path, &error))?;
        if bytes.len() as u64 == LIST_BYTES_MAX {
            let error = io::Error::new(ErrorKind::FileTooLarge, "it is too long");
            return Err(named("read", path, &error));
        }
        Ok(bytes)
    }

    fn read(&self, path: impl AsRef<Path>, bytes_max: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(self.path(path))?
            .take(bytes_max)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// The names in a directory, sorted; none where there is no such directory. Names that are not UTF-8, which the
    /// kernel never makes, are left out.
    pub(super) fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let entries = fs::read_dir(self.path(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        names
    }

    /// The last part of what a link points to.
    pub(super) fn link(&self, path: impl AsRef<Path>) -> Option<String> {
        let target = fs::read_link(self.path(path)).ok()?;
        Some(target.file_name()?.to_str()?.to_owned())
    }

    /// Whether there is such a path.
    pub(super) fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.path(path).exists()
    }

    /// Writes an attribute of the kernel; the error names it.
    pub(super) fn write(&self, path: impl AsRef<Path>, text: &str) -> io::Result<()> {
        let path = path.as_ref();
        self.system
            .write(&self.path(path), text)
            .map_err(|error| named("write", path, &error))
    }

    /// Looks until there is something to see, about ten seconds long.
    pub(super) fn wait_for<T>(&self, look: impl FnMut() -> Option<T>) -> Option<T> {
        self.wait(LOOKS, look)
    }

    /// Looks until there is something to see, about two seconds long.
    pub(super) fn wait_shortly_for<T>(&self, look: impl FnMut() -> Option<T>) -> Option<T> {
        self.wait(LOOKS / 5, look)
    }

    fn wait<T>(&self, looks: u32, mut look: impl FnMut() -> Option<T>) -> Option<T> {
        for _ in 0..looks {
            if let Some(seen) = look() {
                return Some(seen);
            }
            if self.is_to_stop() {
                return None;
            }
            self.system.pause();
        }
        look()
    }

    /// Once: whoever stops puts back what was there, and waits for that.
    fn is_to_stop(&self) -> bool {
        let wanted = self.stop.as_ref().is_some_and(|stop| stop());
        wanted && !self.stopped.swap(true, Ordering::Relaxed)
    }
}

/// An error of the same kind that says what was done to which path.
pub(super) fn named(what: &str, path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
}

/// The system this process runs on.
struct ThisSystem;

impl System for ThisSystem {
    fn write(&self, path: &Path, text: &str) -> io::Result<()> {
        // Attributes exist or do not; a file of that name would only hide that nothing happened.
        let file = File::options().write(true).open(path)?;
        let written = rustix::io::write(&file, text.as_bytes())?;
        if written != text.len() {
            return Err(io::Error::new(
                ErrorKind::WriteZero,
                "the kernel took only a part",
            ));
        }
        Ok(())
    }

    fn run(&self, program: &str, arguments: &[&OsStr]) -> io::Result<Ran> {
        let output = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", PROGRAMS)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .output()?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = complaint
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        Ok(Ran {
            code: output.status.code(),
            output: String::from_utf8_lossy(&output.stdout).into_owned(),
            complaint: lines.join("; "),
        })
    }

    fn open_block(&self, path: &Path, number: &str, alone: bool) -> io::Result<File> {
        let exclusive = if alone { OFlags::EXCL } else { OFlags::empty() };
        // Never waits: not for a medium, and not for the writer of what turns out to be a pipe.
        let flags = (exclusive | OFlags::NONBLOCK).bits();
        let file = File::options()
            .read(true)
            .custom_flags(flags as i32) // the bits of open(2), all below 2^31
            .open(path)?;
        let metadata = file.metadata()?;
        let (major, minor) = (
            rustix::fs::major(metadata.rdev()),
            rustix::fs::minor(metadata.rdev()),
        );
        if !metadata.file_type().is_block_device() || format!("{major}:{minor}") != number {
            return Err(io::Error::new(
                ErrorKind::InvalidData,
                format!("it is not the block device {number}"),
            ));
        }
        Ok(file)
    }

    fn try_open(&self, path: &Path) -> io::Result<()> {
        File::options().read(true).write(true).open(path).map(drop)
    }

    fn give(&self, path: &Path, user: u32) -> io::Result<()> {
        std::os::unix::fs::chown(path, Some(user), None)
    }

    fn may_fill(&self, path: &Path) -> bool {
        rustix::fs::accessat(CWD, path, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
    }

    fn user(&self) -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn lockable_bytes(&self) -> Option<u64> {
        rustix::process::getrlimit(Resource::Memlock).current
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "the kernel says nowhere when it has bound a driver"
    )]
    fn pause(&self) {
        std::thread::sleep(PAUSE);
    }
}

/// Undoes how the kernel writes odd characters of paths in its lists: `\040` is a space.
pub(super) fn unescape(field: &[u8]) -> PathBuf {
    let mut path = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = |digit: &u8| digit.wrapping_sub(b'0') < 8;
        match (first, tail) {
            (b'\\', [a @ b'0'..=b'3', b, c, after @ ..]) if octal(b) && octal(c) => {
                path.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = after;
            }
            _ => {
                path.push(*first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsStr::from_bytes(&path))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: paths in lists of the kernel come out as they are. Method: escapes, half escapes, bytes that are no text.
    #[test]
    fn escapes() {
        for (field, path) in [
            (&br"/srv/a\040b"[..], &b"/srv/a b"[..]),
            (br"/srv/\134\011", b"/srv/\\\t"),
            (br"/srv/\04", br"/srv/\04"),
            (br"\777", br"\777"),
            (b"/srv/\xff\\", b"/srv/\xff\\"),
        ] {
            assert_eq!(unescape(field).as_os_str().as_bytes(), path);
        }
    }

    /// Goal: on the machine itself, what is no block device or another one is never taken for it, attributes are not
    /// made, and programs are found whatever the path of the caller. Method: try each.
    #[test]
    fn this_machine() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("file");
        let system = ThisSystem;
        assert_eq!(
            system.write(&path, "1").expect_err("nothing there").kind(),
            ErrorKind::NotFound
        );
        fs::write(&path, "").expect("a file");
        let error = system.open_block(&path, "259:0", false).expect_err("a file");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        let ran = system.run("id", &["-u".as_ref()]).expect("id runs");
        assert_eq!(ran.code, Some(0));
        assert_eq!(ran.output.trim(), system.user().to_string());
        assert!(system.run("no-such-program-of-helios", &[]).is_err());
    }
}

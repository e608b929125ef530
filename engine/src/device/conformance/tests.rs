//! The suite against both queues over a regular file and, as root, over a loop block device.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use super::{CAPACITY_MIN, run};
use crate::device::{Address, Backend, Device, OpenOptions, create, open};

fn device(path: &Path, backend: Backend) -> std::io::Result<Arc<dyn Device>> {
    let options = OpenOptions {
        backend,
        ..OpenOptions::default()
    };
    open(&Address::Path(path.to_owned()), &options)
}

/// Runs the suite with `backend` on `path`, unless this machine forbids io_uring.
fn conforms(path: &Path, backend: Backend) {
    match device(path, backend) {
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => println!("skipped: {error}"),
        opened => {
            drop(opened.expect("open"));
            run(&|| device(path, backend).expect("open"));
        }
    }
}

fn on_a_file(backend: Backend) {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("device");
    create(&Address::Path(path.clone()), 2 * CAPACITY_MIN).expect("create");
    conforms(&path, backend);
    assert_eq!(
        std::fs::metadata(&path).expect("metadata").len(),
        2 * CAPACITY_MIN
    );
}

/// Goal: io_uring on a file obeys the rules. Method: the suite.
#[test]
fn uring_on_a_file() {
    on_a_file(Backend::Uring);
}

/// Goal: worker threads on a file obey the rules. Method: the suite.
#[test]
fn threads_on_a_file() {
    on_a_file(Backend::Threads);
}

/// Goal: io_uring on a block device obeys the rules. Method: the suite on a loop device, as root.
#[test]
fn uring_on_a_block_device() {
    on_a_block_device(Backend::Uring);
}

/// Goal: worker threads on a block device obey the rules. Method: the suite on a loop device, as root.
#[test]
fn threads_on_a_block_device() {
    on_a_block_device(Backend::Threads);
}

fn on_a_block_device(backend: Backend) {
    let directory = tempfile::tempdir().expect("directory");
    match LoopDevice::over(&directory.path().join("backing")) {
        Ok(device) => {
            conforms(&device.path, backend);
        }
        Err(reason) => println!("skipped, no loop block device: {reason}"),
    }
}

/// A loop block device that goes with its value.
struct LoopDevice {
    path: PathBuf,
}

impl LoopDevice {
    /// Over a new file; an error says why there is none to be had.
    fn over(backing: &Path) -> Result<LoopDevice, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("not root".into());
        }
        create(&Address::Path(backing.to_owned()), 2 * CAPACITY_MIN).map_err(|error| error.to_string())?;
        let output = losetup(&["--find".as_ref(), "--show".as_ref(), backing.as_os_str()])?;
        let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(LoopDevice { path: path.into() })
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        if let Err(reason) = losetup(&["--detach".as_ref(), self.path.as_os_str()]) {
            println!("{} is left behind: {reason}", self.path.display());
        }
    }
}

fn losetup(arguments: &[&std::ffi::OsStr]) -> Result<Output, String> {
    let output = Command::new("losetup").args(arguments).output();
    let output = output.map_err(|error| format!("losetup: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

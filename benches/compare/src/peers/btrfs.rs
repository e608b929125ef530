//! btrfs and its snapshots of subvolumes, in a file on a loop device: the kernel must have btrfs and this process be root.
//!
//! As `mkfs.btrfs` and `mount` come. Everything passes through two file systems, and metadata is written twice, as `mkfs.btrfs`
//! wants it on one device. The mount goes away with the value; `scripts/compare` gives this process a list of mounts of its
//! own, so that it also does when this process is ended.

use std::path::{Path, PathBuf};

use super::git::write_files;
use crate::measure::{Class, Outcome, caches, child, disk};
use crate::workloads::forks::Forker;

/// What is not equal.
pub const NOTE: &str = "on a loop device; edited in place, no commit";
/// The subvolume that is forked.
const BASE: &str = "base";

/// A mounted file system.
#[derive(Debug)]
pub struct Volume {
    image: PathBuf,
    at: PathBuf,
    home: PathBuf,
}

/// Whether there can be one here.
pub fn available() -> Result<(), String> {
    for program in ["btrfs", "mkfs.btrfs", "mount", "umount"] {
        child::find(program)?;
    }
    if !rustix::process::geteuid().is_root() {
        return Err("only root can mount btrfs".to_owned());
    }
    let kinds = || std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if !knows_btrfs(&kinds()) {
        // It may be a module that is not loaded.
        let _ = child::first_line("modprobe", &["btrfs"]);
    }
    if knows_btrfs(&kinds()) {
        Ok(())
    } else {
        Err("this kernel has no btrfs".to_owned())
    }
}

fn knows_btrfs(kinds: &str) -> bool {
    kinds.lines().any(|line| line.trim() == "btrfs")
}

impl Volume {
    /// A new one of that many bytes, mounted in a directory; its image is a sparse file beside it.
    pub fn new(at: &Path, home: &Path, bytes: u64) -> Outcome<Volume> {
        let image = at.with_extension("image");
        std::fs::create_dir_all(at)?;
        std::fs::File::create(&image)?.set_len(bytes)?;
        child::run(child::command("mkfs.btrfs", home).arg("--quiet").arg(&image))?;
        child::run(
            child::command("mount", home)
                .args(["-t", "btrfs", "-o", "loop"])
                .arg(&image)
                .arg(at),
        )?;
        let (at, home) = (at.to_owned(), home.to_owned());
        Ok(Volume { image, at, home })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }

    fn create(&self, name: &str) -> Outcome {
        self.subvolume("create", &[self.path(name)])
    }

    fn snapshot(&self, of: &str, name: &str) -> Outcome {
        self.subvolume("snapshot", &[self.path(of), self.path(name)])
    }

    fn delete(&self, names: &[String]) -> Outcome {
        let paths: Vec<_> = names.iter().map(|name| self.path(name)).collect();
        self.subvolume("delete", &paths)
    }

    fn subvolume(&self, verb: &str, paths: &[PathBuf]) -> Outcome {
        let mut command = child::command("btrfs", &self.home);
        child::run(command.args(["subvolume", verb]).args(paths))?;
        Ok(())
    }
}

/// A tree in a subvolume, and forks that are snapshots of it.
pub struct Snapshots {
    volume: Volume,
    class: Class,
    forks: Vec<String>,
}

impl Snapshots {
    /// A volume with these files in a subvolume.
    pub fn new(
        volume: Volume,
        class: Class,
        files: impl Iterator<Item = (String, Vec<u8>)>,
    ) -> Outcome<Snapshots> {
        volume.create(BASE)?;
        write_files(&volume.path(BASE), files)?;
        caches::sync_file_system(&volume.at)?;
        let forks = Vec::new();
        Ok(Snapshots { volume, class, forks })
    }
}

impl Forker for Snapshots {
    fn fork(&mut self, number: u64) -> Outcome {
        let name = number.to_string();
        self.volume.snapshot(BASE, &name)?;
        self.forks.push(name);
        Ok(())
    }

    fn work(&mut self, number: u64, edits: &[(String, Vec<u8>)]) -> Outcome {
        let at = self.volume.path(&number.to_string());
        for (path, bytes) in edits {
            std::fs::write(at.join(path), bytes)?;
        }
        if self.class == Class::Durable {
            caches::sync_file_system(&at)?;
        }
        Ok(())
    }

    fn delete(&mut self) -> Outcome {
        self.volume.delete(&std::mem::take(&mut self.forks))
    }

    fn space(&self) -> Outcome<u64> {
        disk::space(&self.volume.image)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // What cannot be unmounted goes away with the list of mounts.
        let _ = child::run(child::command("umount", &self.home).arg(&self.at));
        let _ = disk::remove(&self.image);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: btrfs is known by its line alone. Method: lists with it, without it, and with a name that holds it.
    #[test]
    fn btrfs_is_known_by_its_line() {
        assert!(knows_btrfs("nodev\tsysfs\n\text4\n\tbtrfs\n"));
        assert!(!knows_btrfs("nodev\tsysfs\n\text4\n"));
        assert!(!knows_btrfs("nodev\tbtrfs-like\n"));
    }
}

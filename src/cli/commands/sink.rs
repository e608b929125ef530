//! A file that appears complete or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use helios_engine::ops::{Class, Failure};

/// A file being written beside its final name.
pub struct Sink {
    file: BufWriter<File>,
    /// Where it is written, and where it goes; absent for pipes and devices, which are written directly.
    temporary: Option<PathBuf>,
    path: PathBuf,
}

impl Sink {
    /// Starts writing `path`.
    pub fn create(path: &Path) -> Result<Sink, Failure> {
        let direct = fs::metadata(path).is_ok_and(|found| !found.is_file());
        let (file, temporary) = if direct {
            (File::options().write(true).open(path), None)
        } else {
            let mut name = path.file_name().unwrap_or_default().to_owned();
            name.push(format!(".{}.part", std::process::id()));
            let temporary = path.with_file_name(name);
            (File::create_new(&temporary), Some(temporary))
        };
        let file = file.map_err(|error| failure("create", path, &error))?;
        Ok(Sink {
            file: BufWriter::with_capacity(1 << 20, file),
            temporary,
            path: path.to_owned(),
        })
    }

    /// Gives the file its name.
    pub fn finish(mut self) -> Result<(), Failure> {
        let flushed = self.file.flush();
        flushed.map_err(|error| failure("write", &self.path, &error))?;
        if let Some(temporary) = self.temporary.take() {
            fs::rename(&temporary, &self.path).map_err(|error| failure("create", &self.path, &error))?;
        }
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // It is ours and incomplete; if it cannot be removed, its name says what it is.
            let _ = fs::remove_file(temporary);
        }
    }
}

/// A failed operation on a file of the user.
pub fn failure(operation: &str, path: &Path, error: &io::Error) -> Failure {
    let class = match error.kind() {
        io::ErrorKind::NotFound => Class::NotFound,
        io::ErrorKind::StorageFull => Class::Full,
        _ => Class::Io,
    };
    Failure::new(class, format!("{operation} {}: {error}", path.display()))
}

use super::*;

/// Goal: a new file has the size asked for, takes no space, is private, and is never overwritten.
/// Method: make one, look at its metadata, make it again.
#[test]
fn sparse_files_are_made_once() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("store");
    create_sparse(&path, 1 << 30).expect("create");
    let metadata = std::fs::metadata(&path).expect("metadata");
    assert_eq!(metadata.len(), 1 << 30);
    assert!(metadata.blocks() * 512 < 1 << 20, "{} blocks", metadata.blocks());
    assert_eq!(metadata.mode() & 0o777, 0o600);
    let again = create_sparse(&path, 4096).expect_err("exists");
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::metadata(&path).expect("metadata").len(), 1 << 30);
}

/// Goal: a file that cannot have the size asked for leaves nothing behind.
/// Method: ask for more than any file can hold.
#[test]
fn impossible_sizes_leave_nothing() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("store");
    create_sparse(&path, u64::MAX).expect_err("too large");
    assert!(!path.exists());
}

/// Goal: the odd end of a file cannot be addressed. Method: open a file of two units and a bit.
#[test]
fn capacity_is_whole_units() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("odd");
    std::fs::write(&path, vec![7u8; 8192 + 100]).expect("write");
    let target = Target::open(&path, &Options::default()).expect("open");
    assert_eq!(target.capacity(), 8192);
    assert!(!target.is_block_device());
    assert!((512..=4096).contains(&target.logical_block()));
}

/// Goal: what is neither file nor block device is refused with a reason, without waiting for anyone.
/// Method: open a directory, a character device, a pipe nobody writes, and nothing.
#[test]
fn other_kinds_are_refused() {
    let directory = tempfile::tempdir().expect("directory");
    let pipe = directory.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR, 0).expect("pipe");
    let missing = directory.path().join("missing");
    let cases = [
        (directory.path(), io::ErrorKind::IsADirectory, "a directory"),
        (
            Path::new("/dev/null"),
            io::ErrorKind::InvalidInput,
            "a character device",
        ),
        (pipe.as_path(), io::ErrorKind::InvalidInput, "a pipe"),
        (missing.as_path(), io::ErrorKind::NotFound, "missing"),
    ];
    for (path, kind, words) in cases {
        let error = Target::open(path, &Options::default()).expect_err("refused");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

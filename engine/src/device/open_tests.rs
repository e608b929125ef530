#![allow(unsafe_code, reason = "a seccomp filter is installed with a raw system call")]

use super::*;

fn address(path: &Path) -> Address {
    Address::Path(path.to_owned())
}

/// Goal: making a device never overwrites, and bad sizes and kinds are errors that say so.
/// Method: make one, make it again, and try what cannot be made.
#[test]
fn create_is_careful() {
    let directory = tempfile::tempdir().expect("directory");
    let store = address(&directory.path().join("store"));
    create(&store, 1 << 20).expect("create");
    let again = create(&store, 1 << 20).expect_err("exists");
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    let other = address(&directory.path().join("other"));
    for size in [0, 1, 4097] {
        assert_eq!(
            create(&other, size).expect_err("size").kind(),
            io::ErrorKind::InvalidInput
        );
    }
    let nowhere = address(&directory.path().join("missing/store"));
    let error = create(&nowhere, 4096).expect_err("no directory");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(error.to_string().contains("missing/store"), "{error}");
    let sim = create(&Address::Sim { seed: 1 }, 4096).expect_err("sim");
    assert_eq!(sim.kind(), io::ErrorKind::Unsupported);
}

/// Goal: devices this build has not are refused with what to do. Method: open NVMe addresses.
#[cfg(not(feature = "spdk"))]
#[test]
fn missing_backends_say_so() {
    for address in ["nvme:0000:5e:00.0/1", "nvme+tcp://host:4420/nqn.a/1"] {
        let address = address.parse().expect("address");
        let error = open(&address, &OpenOptions::default()).err().expect("no SPDK");
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        let message = error.to_string();
        assert!(
            message.contains(&address.to_string())
                && message.contains("--features spdk")
                && message.contains("scripts/install-spdk"),
            "{message}"
        );
    }
}

/// Goal: a device opened for reading takes no writes, and a shortened file ends reads with an error.
/// Method: write to it; then truncate the file under it and read.
#[test]
fn read_only_and_shortened_files() {
    for backend in [Backend::Auto, Backend::Threads] {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("store");
        create(&address(&path), 1 << 20).expect("create");
        let options = OpenOptions {
            backend,
            read_only: true,
            ..OpenOptions::default()
        };
        let device = open(&address(&path), &options).expect("open");
        let mut queue = device.open_queue(2).expect("queue");
        let zeroes = crate::device::Operation::WriteZeroes { offset: 0, len: 4096 };
        assert_eq!(
            run(&mut *queue, zeroes).expect_err("read-only").kind(),
            io::ErrorKind::PermissionDenied
        );
        run(&mut *queue, crate::device::Operation::Flush).expect("nothing to flush");
        let file = std::fs::File::options().write(true).open(&path).expect("file");
        file.set_len(8192).expect("shorten");
        let buffer = queue.buffer(1 << 20).expect("buffer");
        let read = crate::device::Operation::Read {
            offset: 0,
            range: 0..1 << 20,
            buffer,
        };
        assert_eq!(
            run(&mut *queue, read).expect_err("ended").kind(),
            io::ErrorKind::UnexpectedEof
        );
    }
}

fn run(queue: &mut dyn Queue, operation: crate::device::Operation) -> io::Result<()> {
    let bell = crate::device::Doorbell::new()?;
    assert!(
        queue
            .submit(crate::device::Command { token: 0, operation })
            .is_ok()
    );
    let mut completed = Vec::new();
    while completed.is_empty() {
        queue.wait(&bell, None);
        queue.poll(&mut completed);
    }
    completed.remove(0).result
}

/// Goal: where io_uring is forbidden, as in containers, worker threads do the work after a notice; also for a
/// device that was opened before. Insisting on io_uring is an error that says why.
/// Method: a thread that seccomp answers `io_uring_setup` with EPERM opens devices and runs the whole suite.
#[test]
fn forbidden_io_uring_falls_back() {
    let directory = tempfile::tempdir().expect("directory");
    let path = directory.path().join("store");
    create(&address(&path), 2 * crate::device::conformance::CAPACITY_MIN).expect("create");
    let before = open(&address(&path), &OpenOptions::default()).expect("open");
    let log = Arc::new(Log::default());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            forbid_io_uring();
            tracing::subscriber::with_default(log.clone(), || {
                let insist = OpenOptions {
                    backend: Backend::Uring,
                    ..OpenOptions::default()
                };
                let error = open(&address(&path), &insist).err().expect("forbidden");
                assert_eq!(error.kind(), io::ErrorKind::Unsupported);
                assert!(error.to_string().contains("EPERM"), "{error}");
                assert_eq!(log.warnings(), 0);
                before.open_queue(4).expect("a queue of threads");
                before.open_queue(4).expect("another");
                assert_eq!(log.warnings(), 1, "a notice, once");
                crate::device::conformance::run(&|| {
                    open(&address(&path), &OpenOptions::default()).expect("open")
                });
                assert!(log.warnings() > 1);
            });
        });
    });
}

/// Makes `io_uring_setup` fail with EPERM for this thread and those it starts.
fn forbid_io_uring() {
    let statement = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let number = u32::try_from(libc::SYS_io_uring_setup).expect("a system call number");
    let mut filter = [
        statement((libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, 0, 0, 0),
        statement((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, 0, 1, number),
        statement(
            libc::BPF_RET as u16,
            0,
            0,
            libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned(),
        ),
        statement(libc::BPF_RET as u16, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: takes numbers only.
    let privileges = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(privileges, 0, "{}", io::Error::last_os_error());
    // SAFETY: the program and its filter live across the call, which copies them.
    let filtered = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    assert_eq!(filtered, 0, "{}", io::Error::last_os_error());
}

/// Counts warnings.
#[derive(Default)]
struct Log {
    warnings: std::sync::atomic::AtomicUsize,
}

impl Log {
    fn warnings(&self) -> usize {
        self.warnings.load(Ordering::SeqCst)
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        if *event.metadata().level() == tracing::Level::WARN {
            self.warnings.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

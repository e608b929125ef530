//! Sockets: woken from every kind of sleep, many at once, dropped in every state.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use super::{config, device, threads};
use crate::reactor::{Config, Local, Polling, Runtime, Watched, oneshot};

/// Answers every byte with its successor until the other side ends.
async fn echo(socket: Watched<UnixStream>) {
    let mut buffer = [0u8; 256];
    loop {
        let read = socket.reading(|mut socket| socket.read(&mut buffer)).await;
        let Ok(length @ 1..) = read else { return };
        buffer[..length]
            .iter_mut()
            .for_each(|byte| *byte = byte.wrapping_add(1));
        let mut sent = 0;
        while sent < length {
            let piece = &buffer[sent..length];
            match socket.writing(|mut socket| socket.write(piece)).await {
                Ok(some) => sent += some,
                Err(_) => return,
            }
        }
    }
}

fn watch(local: &Local, socket: UnixStream) -> Watched<UnixStream> {
    socket.set_nonblocking(true).expect("a flag");
    local.watch(socket).expect("a socket")
}

/// A socket whose other end a task on a reactor answers.
fn answered(runtime: &Runtime, reactor: usize) -> UnixStream {
    let (mine, other) = UnixStream::pair().expect("a pair");
    runtime.handles()[reactor].spawn(move |local| {
        let socket = watch(&local, other);
        echo(socket)
    });
    mine
}

/// Goal: a reactor that sleeps, lightly, deeply or not at all, wakes for its sockets, and for its doorbell still.
/// Method: round trips over a socket in turn with calls through the remote queue, without spinning, so that each meets
/// a sleep.
#[test]
fn sockets_and_doorbells_wake_every_sleep() {
    for (spin, light_sleep, polling) in [
        (Duration::ZERO, Duration::ZERO, Polling::Adaptive),
        (Duration::ZERO, Duration::from_secs(600), Polling::Adaptive),
        (
            Duration::from_micros(50),
            Duration::from_millis(5),
            Polling::Adaptive,
        ),
        (Duration::ZERO, Duration::ZERO, Polling::Busy),
    ] {
        let config = Config {
            spin,
            light_sleep,
            polling,
            ..config(1, 1)
        };
        let runtime = Runtime::threads(device(1), &config).expect("threads start");
        let mut socket = answered(&runtime, 0);
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .expect("a timeout");
        for number in 0..500u32 {
            let byte = [u8::try_from(number % 256).expect("below 256")];
            socket.write_all(&byte).expect("the task reads");
            let mut answer = [0];
            socket.read_exact(&mut answer).expect("a wake-up");
            assert_eq!(answer[0], byte[0].wrapping_add(1));
            let (sender, receiver) = oneshot::<u32>();
            runtime.handles()[0].spawn(move |_| async move {
                let _ = sender.send(number);
            });
            assert_eq!(runtime.block_on(receiver), Some(number));
        }
        drop(socket);
        runtime.shutdown();
    }
}

/// Goal: no byte and no wake-up is lost with many sockets, full buffers and pieces of any length. Method: 200 sockets on
/// two reactors; each is sent 200 KiB in odd pieces by a thread while another reads, more than its buffers hold.
#[test]
fn many_sockets_at_once() {
    let runtime = threads(2);
    let bytes: Vec<u8> = (0..200u32 << 10).map(|n| (n * 31 % 251) as u8).collect();
    let expected: Vec<u8> = bytes.iter().map(|byte| byte.wrapping_add(1)).collect();
    let sockets: Vec<UnixStream> = (0..200).map(|n| answered(&runtime, n % 2)).collect();
    let (bytes, expected) = (&bytes, &expected);
    std::thread::scope(|scope| {
        for group in sockets.chunks(50) {
            scope.spawn(move || {
                for socket in group {
                    let mut reader = socket.try_clone().expect("a second descriptor");
                    std::thread::scope(|scope| {
                        scope.spawn(|| {
                            for piece in bytes.chunks(1009) {
                                (&mut &*socket).write_all(piece).expect("it reads");
                            }
                        });
                        let mut back = vec![0; expected.len()];
                        reader.read_exact(&mut back).expect("it answers");
                        assert!(&back == expected, "bytes were lost or changed");
                    });
                }
            });
        }
    });
    runtime.shutdown();
}

/// Goal: a listener accepts, the end of the other side is seen, and sockets may be dropped by either side while a task
/// waits for them; descriptors do not leak. Method: 2,000 connections that send something, nothing, or half and go.
#[test]
fn connections_come_and_go() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("s");
    let listener = UnixListener::bind(&path).expect("a listener");
    listener.set_nonblocking(true).expect("a flag");
    let runtime = threads(1);
    let open_before = std::fs::read_dir("/proc/self/fd").expect("proc").count();
    runtime.handles()[0].spawn(move |local| async move {
        let listener = local.watch(listener).expect("a listener");
        while let Ok((socket, _)) = listener.reading(|listener| listener.accept()).await {
            let socket = watch(&local, socket);
            local.spawn(echo(socket));
        }
    });
    for number in 0..2000 {
        let mut socket = UnixStream::connect(&path).expect("it listens");
        match number % 3 {
            0 => {}
            1 => socket.write_all(b"x").expect("it reads"),
            _ => {
                socket.write_all(b"ab").expect("it reads");
                let mut answer = [0; 2];
                socket.read_exact(&mut answer).expect("it answers");
                assert_eq!(&answer, b"bc");
            }
        }
    }
    runtime.shutdown();
    let open = std::fs::read_dir("/proc/self/fd").expect("proc").count();
    // Other tests of this process open files too; two thousand of ours would show.
    assert!(
        open < open_before + 1000,
        "{open_before} descriptors before, {open} after"
    );
}

/// Goal: a task in virtual time cannot wait for what is outside of it. Method: ask for it.
#[test]
fn virtual_time_has_no_sockets() {
    let runtime = Runtime::driver(device(1), &config(1, 1)).expect("a driver");
    let (sender, receiver) = oneshot();
    runtime.handles()[0].spawn(move |local| async move {
        let (socket, _other) = UnixStream::pair().expect("a pair");
        let refused = local.watch(socket).err().map(|error| error.kind());
        let _ = sender.send(refused);
    });
    assert_eq!(runtime.block_on(receiver), Some(Some(io::ErrorKind::Unsupported)));
}

//! The least that any server costs: a thread behind a bare unix socket that sends back what it gets. Both sides sleep.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use crate::sandbox::time;

/// Bytes sent and sent back: about those of a small call.
const BYTES: usize = 160;

/// One end; the other ends with it.
pub struct Echo {
    near: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    /// Starts the other side.
    #[allow(clippy::disallowed_methods, reason = "the other side of a bare socket")]
    pub fn new() -> Echo {
        let (near, mut far) = UnixStream::pair().expect("a pair");
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; BYTES];
            while far.read_exact(&mut buffer).is_ok() {
                far.write_all(&buffer).expect("the other side reads");
            }
        });
        Echo {
            near: Some(near),
            thread: Some(thread),
        }
    }

    /// A round trip, in nanoseconds.
    pub fn round_trip(&mut self) -> u64 {
        let near = self.near.as_mut().expect("open until it is dropped");
        let mut buffer = [0; BYTES];
        let (ns, ()) = time(|| {
            near.write_all(&buffer).expect("the other side reads");
            near.read_exact(&mut buffer).expect("it answers");
        });
        ns
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        drop(self.near.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it ended");
        }
    }
}

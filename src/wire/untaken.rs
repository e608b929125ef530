//! Whether the other end of a socket has taken what was sent.
#![allow(unsafe_code, reason = "an ioctl that rustix has no function for")]

use std::ffi::c_int;
use std::io;

use rustix::fd::AsFd;
use rustix::ioctl::{Getter, Opcode, ioctl};

/// `SIOCOUTQ` of `<linux/sockios.h>`, the same number on all processors that Helios runs on.
const SIOCOUTQ: Opcode = 0x5411;

/// Whether everything that was sent over a unix stream socket, passed descriptors included, has been received.
///
/// # Errors
/// The system's.
pub fn is_taken(socket: impl AsFd) -> io::Result<bool> {
    // SAFETY: `SIOCOUTQ` writes one `int` (unix(7) and tcp(7)).
    let question = unsafe { Getter::<SIOCOUTQ, c_int>::new() };
    // SAFETY: the getter above has room for the answer.
    let untaken = unsafe { ioctl(socket, question) }?;
    // The last byte of what is taken is given back after whoever waits for it was woken.
    Ok(untaken <= 1)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    /// Goal: what is taken is told apart from what is on its way. Method: nothing, a few bytes taken one by one, more than one
    /// message; and the other direction, which does not count.
    #[test]
    fn what_is_on_its_way_is_seen() {
        let (mut one, mut other) = UnixStream::pair().expect("a pair");
        let is_taken = |socket: &UnixStream| is_taken(socket).expect("a socket");
        assert!(is_taken(&one));
        one.write_all(b"abc").expect("room");
        one.write_all(&[7; 50_000]).expect("room");
        assert!(!is_taken(&one) && is_taken(&other));
        other.read_exact(&mut [0; 2]).expect("sent");
        assert!(!is_taken(&one));
        other.read_exact(&mut [0; 50_000]).expect("sent");
        assert!(!is_taken(&one));
        other.read_exact(&mut [0; 1]).expect("sent");
        assert!(is_taken(&one));
    }
}

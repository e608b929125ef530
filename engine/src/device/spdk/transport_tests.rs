use std::net::TcpListener;

use super::*;

const BOUND: Duration = Duration::from_millis(300);

fn tcp(port: u16) -> Transport {
    Transport::Tcp {
        host: "127.0.0.1".into(),
        port,
        nqn: "nqn.2026-11.storage.helios:test".into(),
    }
}

/// What comes of a listener that answers the greeting with `answer` and hangs up, or says nothing.
fn answered(answer: Option<Vec<u8>>) -> io::Result<String> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listen");
    let port = listener.local_addr().expect("address").port();
    std::thread::scope(|scope| {
        let (done, wait) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            let (mut stream, _) = listener.accept().expect("accept");
            let mut request = [0; GREETING_BYTES];
            stream.read_exact(&mut request).expect("a whole greeting");
            assert_eq!((request[0], request[2], request[4]), (0, 128, 128));
            match answer {
                Some(answer) => stream.write_all(&answer).expect("answer"),
                None => drop(wait.recv()),
            }
        });
        let reached = tcp(port).reach(BOUND);
        drop(done);
        reached
    })
}

/// Goal: whoever greets as a target does is reached, by the address that answered. Method: a listener that does.
#[test]
fn a_greeting_is_enough() {
    let mut answer = vec![0; GREETING_BYTES];
    (answer[0], answer[2], answer[4]) = (ICRESP, 128, 128);
    let id = answered(Some(answer)).expect("reached");
    assert!(
        id.starts_with("trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:"),
        "{id}"
    );
    assert!(id.ends_with("subnqn:nqn.2026-11.storage.helios:test"), "{id}");
}

/// Goal: whoever is no target is told apart, within a bound, and the message says what was seen. Method: listeners that
/// say nothing, something else or too little, and a port that nobody listens on.
#[test]
fn others_are_refused_with_a_reason() {
    let silent = answered(None).expect_err("silent");
    assert_eq!(silent.kind(), ErrorKind::TimedOut);
    assert!(silent.to_string().contains("says nothing"), "{silent}");
    let web = answered(Some(b"HTTP/1.1 400 Bad Request\r\n".repeat(8))).expect_err("web");
    assert_eq!(web.kind(), ErrorKind::InvalidData);
    assert!(web.to_string().contains("no NVMe/TCP target"), "{web}");
    let short = answered(Some(vec![ICRESP; 8])).expect_err("short");
    assert!(short.to_string().contains("hung up"), "{short}");
    let port = {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("listen");
        listener.local_addr().expect("address").port()
    };
    let refused = tcp(port).reach(BOUND).expect_err("refused");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert!(refused.to_string().contains("start the target"), "{refused}");
}

/// Goal: a name that SPDK's notation cannot carry is an error. Method: a space, which separates its fields.
#[test]
fn names_with_spaces_are_refused() {
    let spaced = Transport::Tcp {
        host: "127.0.0.1".into(),
        port: 1,
        nqn: "nqn.a b".into(),
    };
    assert_eq!(
        spaced.reach(BOUND).expect_err("space").kind(),
        ErrorKind::InvalidInput
    );
}

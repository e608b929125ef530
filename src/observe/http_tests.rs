//! Requests of every form, without a socket.

use super::*;

fn ask(request: &[u8]) -> Option<String> {
    let mut pages: Pages = Box::new(|path| (path == "/metrics").then(|| Page::text(200, "figures\n")));
    answer(request, &mut pages).map(|answer| String::from_utf8(answer).expect("text"))
}

fn asked(request: &str) -> String {
    ask(request.as_bytes()).expect("an answer")
}

/// Goal: what is asked for is found whatever form its target has, and HEAD says the same without the body.
#[test]
fn targets_of_every_form_are_found() {
    for target in [
        "/metrics",
        "/metrics?x=/y",
        "http://host:9/metrics",
        "http://host/metrics?a",
    ] {
        let found = asked(&format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(found.starts_with("HTTP/1.1 200 OK\r\n"), "{target}: {found}");
        assert!(found.ends_with("\r\n\r\nfigures\n"), "{found}");
        assert!(found.contains("Content-Length: 8\r\n"), "{found}");
    }
    let head = asked("HEAD /metrics HTTP/1.1\r\nhost: x\r\n\r\n");
    assert!(
        head.contains("Content-Length: 8\r\n") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    assert!(asked("GET /metrics HTTP/1.0\r\n\r\n").starts_with("HTTP/1.1 200 "));
}

/// Goal: whatever else is sent gets the status that says what is wrong with it.
#[test]
fn other_requests_are_refused() {
    let status = |request: &str| asked(request)[9..12].to_owned();
    assert_eq!(status("GET /metric HTTP/1.1\r\nHost: x\r\n\r\n"), "404");
    assert_eq!(status("GET * HTTP/1.1\r\nHost: x\r\n\r\n"), "404");
    assert_eq!(status("POST /nothing HTTP/1.1\r\nHost: x\r\n\r\n"), "404");
    let refused = asked("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
    assert!(refused.starts_with("HTTP/1.1 405 ") && refused.contains("Allow: GET, HEAD\r\n"));
    assert_eq!(status("GET /metrics HTTP/1.1\r\n\r\n"), "400");
    assert_eq!(
        status("GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        "400"
    );
    assert_eq!(status("GET /metrics HTTP/2.0\r\n\r\n"), "505");
    assert_eq!(status("\0\u{1}\u{2}garbage\r\n\r\n"), "400");
    let many = "A: b\r\n".repeat(HEADERS_MAX + 1);
    assert_eq!(status(&format!("GET / HTTP/1.1\r\n{many}\r\n")), "431");
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(REQUEST_BYTES_MAX));
    assert_eq!(status(&long), "431");
}

/// Goal: nothing is answered before a request is whole. Method: every beginning of one.
#[test]
fn a_request_is_answered_once_it_is_whole() {
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    for length in 0..request.len() {
        assert_eq!(ask(&request[..length]), None, "{length}");
    }
    assert!(ask(request).is_some());
}

/// Goal: no bytes make the parser fail other than with a status. Method: changes of one byte of a sound request.
#[test]
fn changed_requests_get_a_status_or_wait() {
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    for at in 0..request.len() {
        for byte in 0..=255 {
            let mut changed = request.to_vec();
            changed[at] = byte;
            if let Some(answer) = ask(&changed) {
                assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
            }
        }
    }
}

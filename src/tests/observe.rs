//! A server that is watched: its metrics and health over HTTP, and what it says to the service manager.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use helios::client::Client;
use helios::wire::message::Call;
use serde_json::Value;

use crate::exposition::Metrics;
use crate::owner::{Owner, PATIENCE, commit, open, write};
use crate::sandbox::Sandbox;

/// A connection to where the metrics of a server are.
fn connect(owner: &Owner) -> TcpStream {
    let address = owner.ready["metrics"].as_str().expect("an address");
    let address = address.strip_prefix("tcp:").expect("over TCP");
    let socket = TcpStream::connect(address).expect("it listens");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

fn get(owner: &Owner, path: &str) -> (u16, String) {
    ask(connect(owner), path)
}

fn scrape(owner: &Owner) -> Metrics {
    let (status, text) = get(owner, "/metrics");
    assert_eq!(status, 200);
    Metrics::parse(&text)
}

/// Asks for a page; its status and body.
fn ask(mut socket: impl Read + Write, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nAccept: */*\r\n\r\n");
    socket.write_all(request.as_bytes()).expect("it reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "));
    assert_eq!(length, Some(&*body.len().to_string()), "{head}");
    let status = head.split(' ').nth(1).expect("a status");
    (status.parse().expect("a number"), body.to_owned())
}

fn write_and_commit(client: &mut Client, tree: u64, text: &str) {
    let (results, _) = client
        .files(
            tree,
            vec![write("file", text.len()), commit(Default::default())],
            text.as_bytes().to_vec(),
        )
        .expect("an answer");
    assert_eq!(results.failed, None);
}

/// Goal: what a server does is on its page of metrics, which is sound to the last line. Method: calls of several kinds and
/// outcomes between two scrapes, compared figure by figure.
#[test]
fn metrics_count_what_the_server_does() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve_with(&["--metrics", "tcp:127.0.0.1:0"]);
    let before = scrape(&server);
    assert_eq!(before.sum("helios_connections", &[]), 0.0);
    assert_eq!(before.sum("helios_calls_total", &[]), 0.0);
    let mut client = server.client();
    for _ in 0..3 {
        client.call(&Call::Ping, Bytes::new()).expect("an answer");
    }
    let tree = open(&mut client, "main", None);
    for text in ["one", "two"] {
        write_and_commit(&mut client, tree, text);
    }
    client
        .call(&Call::CloseFiles { tree: 99 }, Bytes::new())
        .expect_err("no such tree");
    sandbox.run(["branch"]);
    sandbox.fails(3, ["cat", "main:nothing"]);
    let after = scrape(&server);
    for (call, outcome, count) in [
        ("ping", "ok", 3.0),
        ("open_files", "ok", 1.0),
        ("files", "ok", 2.0),
        ("close_files", "not_found", 1.0),
        ("branch", "ok", 1.0),
        ("cat", "not_found", 1.0),
    ] {
        let labels = [("call", call), ("outcome", outcome)];
        assert_eq!(
            after.sum("helios_calls_total", &labels),
            count,
            "{call} {outcome}"
        );
    }
    assert_eq!(
        after.sum("helios_call_duration_seconds_count", &[("call", "files")]),
        2.0
    );
    assert!(after.sum("helios_call_duration_seconds_sum", &[("call", "files")]) > 0.0);
    assert_eq!(after.sum("helios_connections_total", &[]), 3.0);
    assert!(after.sum("helios_connections", &[]) >= 1.0);
    assert_eq!(after.sum("helios_working_trees", &[]), 1.0);
    assert_eq!(after.sum("helios_calls_refused_busy_total", &[]), 0.0);
    for acknowledgement in ["visible", "durable"] {
        let labels = [("acknowledgement", acknowledgement)];
        assert!(after.sum("helios_commit_duration_seconds_count", &labels) >= 2.0);
        assert!(after.sum("helios_commit_duration_seconds_sum", &labels) > 0.0);
    }
    for name in [
        "helios_received_bytes_total",
        "helios_sent_bytes_total",
        "helios_new_bytes_total",
        "helios_extents_new_total",
        "helios_commits_total",
        "helios_index_entries",
        "helios_reactor_busy_seconds_total",
        "helios_reactor_turns_total",
        "helios_reactor_io_completed_total",
        "helios_frame_bytes_written_total",
    ] {
        let (before, after) = (before.sum(name, &[]), after.sum(name, &[]));
        assert!(after > before, "{name}: {before}, then {after}");
    }
    assert_eq!(after.sum("helios_capacity_bytes", &[]), f64::from(1 << 30));
    assert!(after.sum("helios_free_bytes", &[]) > 0.0);
    let counters = before
        .samples
        .iter()
        .filter(|((name, _), _)| name.ends_with("_total"));
    for (series, value) in counters {
        assert!(after.samples[series] >= *value, "{series:?} has fallen");
    }
    drop(client);
    server.end();
}

/// Goal: a healthy server says so, and pages are where they should be. Method: every path, over TCP and over a socket file that
/// is its user's alone and goes with the server.
#[test]
fn a_healthy_server_says_so() {
    let sandbox = Sandbox::new();
    let path = sandbox.path("metrics.sock");
    let server = sandbox.serve_with(&["--metrics", &format!("unix:{}", path.display())]);
    let get = |page: &str| {
        let socket = UnixStream::connect(&path).expect("it listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        ask(socket, page)
    };
    for page in ["/healthz", "/readyz", "/livez"] {
        let (status, body) = get(page);
        let value: Value = serde_json::from_str(&body).expect("a value");
        let expected = serde_json::json!({ "live": true, "ready": true, "degraded": false, "reasons": [] });
        assert_eq!((status, value), (200, expected), "{page}");
    }
    let metrics = Metrics::parse(&get("/metrics?x=1").1);
    assert_eq!(metrics.sum("helios_ready", &[]), 1.0);
    assert_eq!(metrics.sum("helios_condition", &[]), 0.0);
    assert_eq!(get("/nothing").0, 404);
    let mode = fs::metadata(&path).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    server.end();
    assert!(!path.exists(), "the socket is left behind");
}

/// Goal: places that cannot be are refused at once, with a word that helps.
#[test]
fn places_of_metrics_are_checked() {
    let sandbox = Sandbox::new();
    for wrong in [
        "127.0.0.1:1",
        "tcp:9464",
        "tcp:localhost",
        "tcp::1",
        "tcp:h:70000",
        "unix:",
    ] {
        let message = sandbox.fails(2, ["serve", "--metrics", wrong]);
        assert!(message.contains("tcp:127.0.0.1:9464"), "{wrong}: {message}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = format!("tcp:{}", taken.local_addr().expect("an address"));
    let message = sandbox.fails(2, ["serve", "--metrics", &address]);
    assert!(message.contains(&address), "{message}");
    sandbox.write("file", "mine");
    let file = format!("unix:{}", sandbox.work().join("file").display());
    assert!(
        sandbox
            .fails(2, ["serve", "--metrics", &file])
            .contains("something else")
    );
    assert_eq!(sandbox.read("file"), b"mine");
}

/// Goal: clients of HTTP that send garbage, send slowly, send without end or never read keep nobody from the metrics and harm
/// no client of the store. Method: hundreds of each, held open, then a scrape and a call.
#[test]
fn bad_clients_of_http_harm_nobody() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve_with(&["--metrics", "tcp:127.0.0.1:0"]);
    let mut held = Vec::new();
    for number in 0..400 {
        let mut socket = connect(&server);
        // A server that has heard enough closes; then there is nobody to write to.
        let _ = match number % 5 {
            0 => Ok(()),
            1 => socket.write_all(b"GET /metrics HT"),
            2 => socket.write_all(&[0xff; 3000]),
            3 => socket.write_all(&vec![b'A'; 100_000]),
            _ => socket.write_all("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(50).as_bytes()),
        };
        held.push(socket);
        if number % 100 == 0 {
            scrape(&server);
        }
    }
    assert_eq!(scrape(&server).sum("helios_live", &[]), 1.0);
    assert_eq!(get(&server, "/healthz").0, 200);
    let mut endless = connect(&server);
    let mut sent = 0;
    let ended = loop {
        match endless.write(&[b'x'; 4096]) {
            Ok(more) => sent += more,
            Err(error) => break error.kind(),
        }
        assert!(sent < 64 << 20, "it reads without end");
    };
    assert!(
        matches!(ended, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        "{ended:?}"
    );
    let mut half = connect(&server);
    half.write_all(b"GET /metrics HTTP/1.1\r\n").expect("it reads");
    let mut rest = Vec::new();
    let over = half.read_to_end(&mut rest);
    assert!(
        over.is_ok_and(|read| read == 0),
        "a request without an end is given up"
    );
    let mut client = server.client();
    client.call(&Call::Ping, Bytes::new()).expect("an answer");
    drop(held);
    server.end();
}

/// Goal: alerts and the dashboard ask for metrics that there are, and every alert can fire. Method: every name in both files
/// against those that a server exposes; labels they choose by too.
#[test]
fn alerts_and_dashboard_use_metrics_that_exist() {
    let sandbox = Sandbox::new();
    let server = sandbox.serve_with(&["--metrics", "tcp:127.0.0.1:0"]);
    let metrics = scrape(&server);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/monitoring");
    let mut exposed: BTreeSet<String> = BTreeSet::new();
    for (name, kind) in &metrics.types {
        if kind == "histogram" {
            exposed.extend(["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")));
        } else {
            exposed.insert(name.clone());
        }
    }
    let mut used = 0;
    for file in ["alerts.yml", "dashboard.json"] {
        let text = fs::read_to_string(root.join(file)).expect("a file");
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        for word in words.filter(|word| word.starts_with("helios_")) {
            used += 1;
            assert!(exposed.contains(word), "{file}: there is no {word}");
        }
    }
    assert!(used > 60, "only {used} names were found");
    let text = fs::read_to_string(root.join("dashboard.json")).expect("a file");
    let dashboard: Value = serde_json::from_str(&text).expect("one value");
    let panels = dashboard["panels"].as_array().expect("panels");
    assert!(panels.iter().all(|panel| {
        let targets = panel["targets"].as_array().expect("queries");
        !targets.is_empty()
            && targets
                .iter()
                .all(|target| target["expr"].as_str().is_some_and(|text| !text.is_empty()))
    }));
    server.end();
}

/// A socket that plays the service manager.
fn manager(sandbox: &Sandbox) -> (UnixDatagram, PathBuf) {
    let path = sandbox.path("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    (socket, path)
}

/// What the manager hears, until something is among it.
fn hear(socket: &UnixDatagram, wanted: &str) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let length = socket
            .recv(&mut buffer)
            .unwrap_or_else(|error| panic!("{error} after {heard:?}"));
        let words = String::from_utf8(buffer[..length].to_vec()).expect("text");
        let found = words.lines().any(|word| word == wanted);
        heard.push(words);
        if found {
            return heard;
        }
    }
}

/// Goal: the service manager hears when the server is ready and when it ends, and its watchdog is fed meanwhile, but not that of
/// another process. Method: a socket of the test's own.
#[test]
fn the_service_manager_is_told() {
    let sandbox = Sandbox::new();
    let (socket, path) = manager(&sandbox);
    let start = |pid: Option<u32>| {
        let mut command = sandbox.process(assert_cmd::cargo::cargo_bin!("helios"));
        command.args(["serve", "--json"]);
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
        if let Some(pid) = pid {
            command.env("WATCHDOG_PID", pid.to_string());
        }
        Owner::of(command)
    };
    let server = start(None);
    hear(&socket, "READY=1");
    for _ in 0..3 {
        hear(&socket, "WATCHDOG=1");
    }
    server.end();
    hear(&socket, "STOPPING=1");
    let server = start(Some(1));
    hear(&socket, "READY=1");
    crate::crash::pause(500);
    server.end();
    let heard = hear(&socket, "STOPPING=1");
    assert!(
        !heard.iter().any(|words| words.contains("WATCHDOG=1")),
        "{heard:?}"
    );
}

/// Goal: sockets that the service manager has made are used and left as they are; those for another process are not touched.
/// Method: a shell passes two as descriptors 3 and 4.
#[test]
fn passed_sockets_are_used() {
    let sandbox = Sandbox::new();
    let path = sandbox.path("passed");
    let control = UnixListener::bind(&path).expect("a socket");
    let metrics = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = metrics.local_addr().expect("an address");
    let command = |pid: &str, more: &[&str]| {
        let mut command = sandbox.process("/bin/sh");
        let program = assert_cmd::cargo::cargo_bin!("helios");
        let script =
            format!("LISTEN_PID={pid} exec \"$0\" serve --json \"$@\" 3<&0 4<&2 0</dev/null 2>/dev/null");
        command.args(["-c", &script]).arg(program).args(more);
        command
            .env("LISTEN_FDS", "2")
            .env("LISTEN_FDNAMES", "control:metrics");
        command.stdin(std::os::fd::OwnedFd::from(control.try_clone().expect("a copy")));
        command.stderr(std::os::fd::OwnedFd::from(metrics.try_clone().expect("a copy")));
        command
    };
    let server = Owner::of_passed(command("$$", &[]));
    assert_eq!(server.ready["control"], path.to_str().expect("text"));
    assert_eq!(server.ready["metrics"], format!("tcp:{address}"));
    sandbox.run(["branch"]);
    let counted = scrape(&server);
    assert_eq!(counted.sum("helios_calls_total", &[("call", "branch")]), 1.0);
    server.end();
    assert!(path.exists(), "the socket is the manager's");
    let twice = format!("unix:{}", sandbox.path("other").display());
    let output = command("$$", &["--control", &twice]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let server = Owner::of(command("1", &[]));
    assert_ne!(server.ready["control"], path.to_str().expect("text"));
    assert_eq!(server.ready["metrics"], Value::Null);
    server.end();
}

/// Goal: logs for programs are objects in lines. Method: a client that is sent away makes the server say something.
#[test]
fn logs_can_be_json() {
    let sandbox = Sandbox::new();
    let mut server = sandbox.serve_with(&["--log-format", "json", "-vv"]);
    let path = server.ready["control"].as_str().expect("a path");
    let mut socket = UnixStream::connect(path).expect("it listens");
    socket.write_all(&[0xff; 64]).expect("it reads");
    let mut answer = Vec::new();
    // Its last word; a reset comes if it does not read all of this.
    let _ = socket.read_to_end(&mut answer);
    let stderr = server.child.stderr.take().expect("a pipe");
    server.end();
    let lines: Vec<Value> = BufReader::new(stderr)
        .lines()
        .map(|line| serde_json::from_str(&line.expect("text")).expect("one value in a line"))
        .collect();
    let said = |line: &Value| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.contains("a connection ends"))
    };
    assert!(lines.iter().any(said), "{lines:?}");
    assert!(
        lines
            .iter()
            .all(|line| line["timestamp"].is_string() && line["level"].is_string())
    );
}

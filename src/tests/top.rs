//! `helios top` against a real server.

use std::io::{BufRead, BufReader, Write};

use serde_json::Value;

use crate::owner::{commit, open, write};
use crate::sandbox::Sandbox;

/// Goal: what is shown is what happens. Method: commits until lines of JSON that have seen some are there.
#[test]
fn lines_say_what_happens() {
    let sandbox = Sandbox::new();
    let owner = sandbox.serve();
    let mut client = owner.client();
    let tree = open(&mut client, "main", None);
    let mut top = sandbox.spawn(["top", "--json", "-n", "4", "--interval", "300ms"]);
    let mut number = 0_u32;
    while top.try_wait().expect("its state").is_none() {
        number += 1;
        assert!(number < 1_000_000, "it does not end");
        let steps = vec![write("n", 4), commit(Default::default())];
        let (results, _) = client
            .files(tree, steps, number.to_le_bytes().to_vec())
            .expect("an answer");
        assert_eq!(results.failed, None);
    }
    let output = top.wait_with_output().expect("it has ended");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("one value in a line"))
        .collect();
    assert_eq!(lines.len(), 4);
    let store = sandbox.store().display().to_string();
    for line in &lines {
        let figure = |name: &str| line[name].as_f64().unwrap_or_else(|| panic!("{name}: {line}"));
        assert_eq!(line["store"], *store);
        assert_eq!(line["health"]["ready"], true);
        assert!(figure("interval_s") > 0.1 && figure("uptime_s") > 0.1);
        assert_eq!((figure("clients"), figure("working_trees")), (2.0, 1.0));
        assert_eq!(figure("capacity_bytes"), f64::from(1 << 30));
        assert!(figure("resident_bytes") > 1e6);
        let files = line["calls"]
            .as_array()
            .expect("calls")
            .iter()
            .find(|calls| calls["call"] == "files");
        let files = files.expect("there were some");
        assert!(
            files["per_s"].as_f64() > Some(0.0) && files["p99_s"].as_f64() > Some(0.0),
            "{files}"
        );
        let durable = &line["commits_durable"];
        assert!(durable["per_s"].as_f64() > Some(0.0) && durable["p50_s"].as_f64() > Some(0.0));
        let busy = line["reactors"]
            .as_array()
            .expect("reactors")
            .iter()
            .map(|reactor| &reactor["utilisation"]);
        assert!(
            busy.filter_map(Value::as_f64)
                .any(|part| part > 0.0 && part <= 1.0)
        );
    }
    owner.end();
}

/// Goal: without a terminal one frame is printed, without colours or movements; without a server the hint is to start one.
#[test]
fn a_frame_is_printed_where_there_is_no_terminal() {
    let sandbox = Sandbox::new();
    let message = sandbox.fails(3, ["top"]);
    assert!(
        message.contains("no server owns") && message.contains("helios serve"),
        "{message}"
    );
    let owner = sandbox.serve();
    for arguments in [&["top", "-i", "100ms"][..], &["top", "--once", "-i", "100ms"]] {
        let frame = sandbox.run(arguments);
        assert!(frame.starts_with("helios ") && !frame.contains('\x1b'), "{frame}");
        for words in ["healthy", "reactor 0", "observe", "1.00 GiB used"] {
            assert!(frame.contains(words), "{words}: {frame}");
        }
        assert_eq!(frame.matches("healthy").count(), 1);
    }
    let twice = sandbox.run(["top", "-n", "2", "-i", "100ms"]);
    assert_eq!(twice.matches("healthy").count(), 2);
    sandbox.fails(2, ["top", "--interval", "0s"]);
    let mut endless = sandbox.spawn(["top", "--json", "-i", "50ms"]);
    drop(endless.stdout.take());
    assert!(
        endless.wait().expect("it ends").success(),
        "a reader that goes is no error"
    );
    owner.kill();
    sandbox.fails(3, ["top", "--once"]);
}

/// Opens a pseudo terminal with Python's standard library, runs the program in it, presses keys when it is on the screen, and
/// prints what the terminal was sent and whether it is as it was before.
const IN_A_TERMINAL: &str = r#"
import fcntl, os, pty, select, struct, subprocess, sys, termios, time
master, slave = pty.openpty()
def resize(rows, columns):
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
resize(24, 80)
before = termios.tcgetattr(slave)
# The terminal is to be its own, or ctrl-C would be for nobody.
own = lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)
child = subprocess.Popen([sys.argv[1], "top", "-i", "100ms"], stdin=slave, stdout=slave, stderr=slave,
                         start_new_session=True, preexec_fn=own)
sent, deadline = b"", time.monotonic() + 60
def read_until(done):
    global sent
    while not done() and time.monotonic() < deadline:
        if select.select([master], [], [], 0.05)[0]:
            sent += os.read(master, 65536)
read_until(lambda: sent.count(b"\x1b[H") > 2)
resize(10, 30)
begin = len(sent)
read_until(lambda: sent[begin:].count(b"\x1b[H") > 2)
print("shown", flush=True)
sys.stdin.readline()
read_until(lambda: b"no server owns" in sent)
print("missed", flush=True)
sys.stdin.readline()
begin = len(sent)
whole = lambda: sent[begin:].split(b"\x1b[H")[1:-1]
read_until(lambda: any(b"no server owns" not in frame for frame in whole()))
os.write(master, sys.argv[2].encode())
read_until(lambda: child.poll() is not None)
time.sleep(0.1)
read_until(lambda: not select.select([master], [], [], 0)[0])
child.poll() is None and child.kill()
after = termios.tcgetattr(slave)
print("code", child.wait())
print("restored", before == after and b"\x1b[?1049l" in sent and sent.startswith(b"\x1b[?1049h"))
last = sent[begin:].split(b"\x1b[H")[-1].split(b"\x1b[J")[0].split(b"\r\n")
print("rows", len(last))
import re
# The terminal itself puts another carriage return before each line feed.
plain = [re.sub(rb"\x1b\[[0-9;]*[mK]", b"", line).strip(b"\r") for line in last]
print("columns", max(len(line) for line in plain))
print("colour", b"\x1b[1m" in sent)
print("title", plain[0].startswith(b"helios "))
"#;

/// Goal: on a terminal the view fills it and no more, follows its size, waits for an owner that goes, and leaves the terminal as it
/// was, by `q` and by ctrl-C alike.
#[test]
fn a_terminal_is_left_as_it_was() {
    let sandbox = Sandbox::new();
    for (key, color) in [("q", true), ("\x03", false)] {
        let owner = sandbox.serve();
        let mut python = sandbox.python();
        python.args(["-c", IN_A_TERMINAL]);
        python
            .arg(assert_cmd::cargo::cargo_bin!("helios"))
            .arg(key)
            .env("TERM", "xterm");
        if !color {
            python.env("NO_COLOR", "1");
        }
        let mut python = match python.spawn() {
            Ok(python) => python,
            Err(error) => {
                println!("not tested, there is no python3 to open a terminal: {error}");
                return;
            }
        };
        let mut stdin = python.stdin.take().expect("a pipe");
        let mut stdout = BufReader::new(python.stdout.take().expect("a pipe"));
        let mut says = |word: &str| {
            let mut line = String::new();
            stdout.read_line(&mut line).expect("it speaks");
            assert_eq!(line.trim(), word);
        };
        says("shown");
        // The rows of the terminal are few: what is above all must say it.
        owner.kill();
        stdin.write_all(b"\n").expect("it reads");
        says("missed");
        let owner = sandbox.serve();
        stdin.write_all(b"\n").expect("it reads");
        let color = if color { "True" } else { "False" };
        for line in ["code 0", "restored True", "rows 10", "columns 30"] {
            says(line);
        }
        says(&format!("colour {color}"));
        says("title True");
        assert!(python.wait().expect("it ends").success());
        owner.end();
    }
}

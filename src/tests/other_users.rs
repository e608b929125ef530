//! Clients of another user, in processes that are really theirs. Only root can start such processes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use crate::owner::Owner;
use crate::sandbox::Sandbox;

/// The user `nobody`.
const UID: &str = "65534";

/// A sandbox that the other user can reach, with a program that it can run.
struct Shared {
    sandbox: Sandbox,
    program: PathBuf,
}

impl Shared {
    /// `None`, with a word, where no process of another user can be started.
    fn new() -> Option<Shared> {
        if !rustix::process::geteuid().is_root() {
            println!("not tested, only root can start processes of other users");
            return None;
        }
        let sandbox = Sandbox::new();
        let program = sandbox.path("helios");
        fs::copy(assert_cmd::cargo::cargo_bin!("helios"), &program).expect("a copy");
        for path in [sandbox.path(""), program.clone(), sandbox.work()] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
        }
        let shared = Shared { sandbox, program };
        match shared.as_other(&["--version"], b"") {
            Ok(output) if output.status.success() => Some(shared),
            other => {
                println!("not tested, no process of another user can be started: {other:?}");
                None
            }
        }
    }

    /// Runs the program as the other user.
    fn as_other(&self, arguments: &[&str], input: &[u8]) -> std::io::Result<Output> {
        let mut command = Command::new("setpriv");
        command
            .args([
                &format!("--reuid={UID}"),
                &format!("--regid={UID}"),
                "--clear-groups",
                "--",
            ])
            .arg(&self.program)
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", "/nonexistent")
            .env("HELIOS_STORE", self.sandbox.store())
            .env("HELIOS_CONFIG", "")
            .current_dir(self.sandbox.work())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let mut stdin = child.stdin.take().expect("a pipe");
        // A command that wants no input may have ended.
        let _ = std::io::Write::write_all(&mut stdin, input);
        drop(stdin);
        child.wait_with_output()
    }

    fn refused(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.as_other(arguments, b"").expect("it runs");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(
            output.stdout.is_empty() && stderr.starts_with("helios: "),
            "{stderr}"
        );
        stderr
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> String {
        let output = self.as_other(arguments, input).expect("it runs");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    }
}

fn turned_away(owner: &Owner) -> Option<f64> {
    let labels = [("reason", "not_allowed")];
    owner.metrics().sum("helios_connections_refused_total", &labels)
}

/// Goal: a process of another user is kept out, by the mode of the socket and by the kernel's word alike, and is told why. Method:
/// a command of that user, before and after the socket has been opened to everybody by mistake.
#[test]
fn another_user_is_sent_away() {
    let Some(shared) = Shared::new() else { return };
    let owner = shared.sandbox.serve();
    let message = shared.refused(5, &["branch"]);
    assert!(
        message.contains("this user may not use its socket") && message.contains("--allow-uid"),
        "{message}"
    );
    assert_eq!(turned_away(&owner), Some(0.0));
    fs::set_permissions(&owner.socket, fs::Permissions::from_mode(0o666)).expect("a mode");
    let message = shared.refused(5, &["branch"]);
    let words = format!("served by user 0, and user {UID} is not allowed in");
    assert!(
        message.contains(&words) && message.contains("--allow-uid"),
        "{message}"
    );
    assert_eq!(turned_away(&owner), Some(1.0));
    shared.sandbox.run(["branch"]);
    owner.end();
}

/// Goal: a user who is allowed in does everything but have the owner read and write files. Method: a list, a put, a get, a view of
/// the server, a scrub that is to read files; what comes of directories is in `attached`.
#[test]
fn a_user_who_is_allowed_may_come_in() {
    let Some(shared) = Shared::new() else { return };
    let owner = shared.sandbox.serve_with(&["--allow-uid", UID]);
    assert_eq!(shared.run(&["branch"], b""), "");
    let id = shared.run(&["put", "-q"], b"by another");
    assert_eq!(shared.run(&["get", id.trim()], b""), "by another");
    assert_eq!(shared.sandbox.run(["get", id.trim()]), "by another");
    assert!(
        shared
            .run(&["top", "--once", "-i", "50ms"], b"")
            .contains("healthy")
    );
    let message = shared.refused(2, &["scrub", "--repair-from", "."]);
    assert!(
        message.contains(&format!("as user 0, not as user {UID}")),
        "{message}"
    );
    assert_eq!(turned_away(&owner), Some(0.0));
    owner.end();
}

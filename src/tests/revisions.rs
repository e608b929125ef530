//! How revisions are written, and what happens to those that are not.

use crate::sandbox::Sandbox;

/// Goal: every documented spelling resolves to the commit it should.
#[test]
fn every_spelling_resolves() {
    let sandbox = Sandbox::new();
    let mut commits = Vec::new();
    for text in ["one", "two", "three"] {
        sandbox.write("file", text);
        commits.push(sandbox.commit(text));
    }
    sandbox.run(["tag", "v1", "main~2"]);
    for (revision, text) in [
        ("main", "three"),
        ("main~0", "three"),
        ("main~1", "two"),
        ("main~2", "one"),
        ("v1", "one"),
        (&commits[1], "two"),
        (&commits[1][..16], "two"),
        (&format!("{}~1", &commits[2][..20]), "two"),
    ] {
        assert_eq!(
            sandbox.run(["cat", &format!("{revision}:file")]),
            text,
            "{revision}"
        );
    }
    assert_eq!(sandbox.run(["cat", "main@{0s}:file"]), "three");
}

/// Goal: malformed and unknown revisions fail with the right code and name what was written; nothing panics.
#[test]
fn what_is_no_revision_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.write("file", "one");
    sandbox.commit("first");
    for revision in ["nope", "0123456789abcdef", "main@{1000w}"] {
        let message = sandbox.fails(3, ["log", revision]);
        assert!(
            message.contains(revision.split('@').next().unwrap_or(revision)),
            "{message}"
        );
    }
    let message = sandbox.fails(3, ["log", "main~7"]);
    assert!(message.contains("~7"), "{message}");
    for revision in [
        "",
        "main~x",
        "main~99999999999999999999",
        "main@{",
        "main@{10q}",
        "~1",
        "ma in~",
    ] {
        let output = sandbox
            .helios()
            .args(["log", revision])
            .output()
            .expect("the program runs");
        let code = output.status.code();
        assert!(matches!(code, Some(2 | 3)), "{revision:?} gave {code:?}");
        assert!(
            !String::from_utf8_lossy(&output.stderr).contains("panicked"),
            "{revision:?}"
        );
    }
}

/// Goal: an empty store says so instead of failing obscurely.
#[test]
fn an_empty_store_has_no_main() {
    let sandbox = Sandbox::new();
    for arguments in [
        &["log"][..],
        &["ls"],
        &["diff", "main", "main"],
        &["restore", "main"],
        &["branch", "new"],
    ] {
        let message = sandbox.fails(3, arguments);
        assert!(message.contains("main"), "{message}");
    }
    assert_eq!(sandbox.run(["branch"]), "");
}

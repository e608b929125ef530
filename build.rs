//! Records what `helios --version` prints besides the version: the commit it was built from, if any.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown commit".to_owned());
    println!("cargo:rustc-env=HELIOS_COMMIT={commit}");
    println!("cargo:rerun-if-changed=build.rs");
    // A commit changes the file of its branch, not `HEAD`; where branches are packed, it makes that file.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD".to_owned()].into_iter().chain(branch) {
        let path = git(&["rev-parse", "--git-path", &name]).map(PathBuf::from);
        let watched = path
            .as_deref()
            .and_then(|path| path.ancestors().find(|path| path.exists()));
        if let Some(watched) = watched {
            println!("cargo:rerun-if-changed={}", watched.display());
        }
    }
}

/// What git prints, if it succeeds.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = output.status.success().then_some(output.stdout)?;
    Some(String::from_utf8(text).ok()?.trim().to_owned())
}

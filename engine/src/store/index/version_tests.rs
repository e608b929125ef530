//! The sequence lock under `loom`, which tries every interleaving and every value that relaxed loads may return.
//! `version.rs` is compiled a second time, against `loom`'s atomics.

use loom::sync::atomic;

#[allow(clippy::duplicate_mod, reason = "the second copy has other atomics")]
#[path = "version.rs"]
#[allow(dead_code, reason = "the model uses the protocol, not all of its helpers")]
mod version;

use atomic::{AtomicU64, Ordering::Relaxed};
use loom::sync::Arc;
use loom::thread;

/// Two words under one version; the writer keeps them equal. Returns what a reader saw: `None` if it should retry.
fn model(checked: bool) {
    loom::model(move || {
        let shared = Arc::new((AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0)));
        let writer = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                for value in 1..3 {
                    version::write(&shared.0, || {
                        shared.1.store(value, Relaxed);
                        shared.2.store(value, Relaxed);
                    });
                }
            })
        };
        if let Some(seen) = version::begin_read(&shared.0) {
            let (first, second) = (shared.1.load(Relaxed), shared.2.load(Relaxed));
            if !checked || version::unchanged(&shared.0, seen) {
                assert_eq!(first, second, "torn");
                assert!(!checked || first == seen / 2, "not the value of its version");
            }
        }
        writer.join().expect("the writer does not fail");
    });
}

/// Goal: no interleaving and no allowed reordering yields a torn read. Method: exhaustive model of two writes and
/// one read.
#[test]
fn no_torn_read_passes_the_version_check() {
    model(true);
}

/// Goal: the model can see a torn read. Method: the same without the check at the end must fail.
#[test]
#[should_panic(expected = "torn")]
fn without_the_check_the_model_finds_a_torn_read() {
    model(false);
}

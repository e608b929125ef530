//! Goal: where the environment cannot be made, that is an error whose reason is in the log, not an abort, and nothing is
//! printed behind the program's back. Method: a directory that is no hugetlbfs, in a process of its own whose output is
//! looked at.
#![cfg(feature = "link")]
#![allow(unsafe_code, reason = "calls SPDK")]

use std::ffi::{CStr, c_char, c_int};
use std::process::Command;
use std::sync::Mutex;

use spdk_sys::*;

static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

unsafe extern "C" fn log(_: c_int, _: *const c_char, _: c_int, _: *const c_char, message: *const c_char) {
    // SAFETY: the shim passes a string that is ended by a zero byte and lives until this returns.
    let message = unsafe { CStr::from_ptr(message) };
    LOG.lock().unwrap().push(message.to_string_lossy().into_owned());
}

const CHILD: &str = "SPDK_SYS_TEST_CHILD";

#[test]
fn no_hugepages() {
    if std::env::var_os(CHILD).is_none() {
        let this = std::env::current_exe().unwrap();
        let output = Command::new(this)
            .args(["--exact", "no_hugepages", "--nocapture"])
            .env(CHILD, "1")
            .output();
        let output = output.unwrap();
        let printed =
            [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(output.status.success(), "{printed:?}");
        for text in &printed {
            assert!(
                !text.contains("EAL") && !text.contains("DPDK"),
                "printed past the log: {text}"
            );
        }
        return;
    }
    // SAFETY: the callback has the signature asked for and is there for ever.
    assert_eq!(unsafe { spdk_shim_log_open(Some(log)) }, 0);
    let env = spdk_shim_env {
        name: c"spdk-sys-no-memory".as_ptr(),
        hugedir: c"/nonexistent/hugepages".as_ptr(),
        shm_id: -1,
        memory_mib: 64,
        no_pci: true,
        ..spdk_shim_env::default()
    };
    // SAFETY: the strings are static; the only environment of this process.
    let code = unsafe { spdk_shim_env_init(&raw const env) };
    assert!(code < 0, "{code}");
    let logged = LOG.lock().unwrap().join("\n");
    assert!(
        logged.to_lowercase().contains("hugepage"),
        "the log gives the reason: {logged}"
    );
}

//! Raw bindings to the NVMe driver of SPDK, generated from the headers of the SPDK that is installed.
//!
//! The crate is empty unless its feature `link` is on, so that the workspace builds, and is tested, where there is no
//! SPDK. With it the build needs SPDK 20.07 to 26.x (in `SPDK_PREFIX`, or known to pkg-config) and libclang; see the
//! README of this crate.
//!
//! Names and signatures are SPDK's, described by its headers. Functions that begin with `spdk_shim_` come from
//! `src/shim.c` and are described in `src/shim.h`: they stand for macros, for static inline functions, and for whatever
//! SPDK has changed between its versions, so that a program needs no conditions on the version.
//!
//! Everything in here is as unsafe as the C that it stands for. The rules that matter most: the environment is made
//! once in a process, before anything else; a queue pair is used by one thread at a time; memory given to a command
//! belongs to the device until its completion has been called; a callback must not unwind.
#![allow(unsafe_code, reason = "everything here is foreign")]

#[cfg(feature = "link")]
#[allow(
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unsafe_op_in_unsafe_fn,
    unused,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    rustdoc::all,
    reason = "generated; SPDK's headers document it"
)]
mod bindings {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

#[cfg(feature = "link")]
pub use bindings::*;

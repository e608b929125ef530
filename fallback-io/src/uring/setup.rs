//! Making a ring: the best setup the kernel has, and the verdict when there is none.

use io_uring::{IoUring, Probe, opcode};
use rustix::io::Errno;

use crate::{Error, Result};

/// Mappings one ring can register.
pub(super) const REGIONS_MAX: u16 = 64;

/// One way to set a ring up.
pub(super) type Setup = fn(&mut io_uring::Builder);

/// Setups from best to plainest. Deferred task work (Linux 6.1) completes requests on the owner's own time
/// instead of interrupting it, and the flag spares polling the kernel while there is nothing to collect;
/// cooperative task work (5.19) is the next best.
pub(super) const SETUPS: [Setup; 3] = [
    |builder| {
        builder
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all();
    },
    |builder| {
        builder
            .setup_coop_taskrun()
            .setup_taskrun_flag()
            .setup_submit_all();
    },
    |_| {},
];

/// A ring with room for `entries` submissions, set up in the first of `setups` that the kernel knows.
pub(super) fn ring(entries: u32, setups: &[Setup]) -> Result<IoUring> {
    for setup in setups {
        let mut builder = IoUring::builder();
        builder.setup_clamp();
        setup(&mut builder);
        match builder.build(entries) {
            Ok(ring) => return suitable(ring),
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {}
            Err(error) => return Err(refused(error)),
        }
    }
    Err(unusable("the kernel knows none of the setups"))
}

/// The ring, if it can do all that the queue needs.
fn suitable(ring: IoUring) -> Result<IoUring> {
    let features = ring.params();
    if !features.is_feature_nodrop() || !features.is_feature_ext_arg() {
        return Err(unusable("the kernel is too old (before 5.11)"));
    }
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(refused)?;
    let needed = [
        ("read", opcode::Read::CODE),
        ("write", opcode::Write::CODE),
        ("read into registered memory", opcode::ReadFixed::CODE),
        ("write from registered memory", opcode::WriteFixed::CODE),
        ("fsync", opcode::Fsync::CODE),
        ("fallocate", opcode::Fallocate::CODE),
        ("poll", opcode::PollAdd::CODE),
        ("cancel a poll", opcode::PollRemove::CODE),
    ];
    match needed.iter().find(|(_, code)| !probe.is_supported(*code)) {
        Some((name, _)) => Err(unusable(format!("it cannot {name}"))),
        None => Ok(ring),
    }
}

/// Tells "not here" (missing, forbidden, over the locked-memory limit of kernels before 5.12) from a machine
/// that has run out of something, which no other queue would cure.
pub(super) fn refused(error: std::io::Error) -> Error {
    match Errno::from_io_error(&error) {
        Some(Errno::NOSYS) => unusable("the kernel has none, or hides it (ENOSYS)"),
        Some(Errno::PERM | Errno::ACCESS) => {
            unusable("it is forbidden, as in most containers and by `kernel.io_uring_disabled` (EPERM)")
        }
        Some(Errno::NOMEM) => unusable("it may not lock enough memory, see `ulimit -l` (ENOMEM)"),
        _ => Error::Resources {
            what: "set up io_uring",
            source: error,
        },
    }
}

fn unusable(reason: impl Into<String>) -> Error {
    Error::Unusable {
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the system's ways of forbidding io_uring lead to the other queue, other failures do not.
    /// Method: classify each errno as `io_uring_setup` gives it.
    #[test]
    fn refusals_are_classified() {
        for errno in [Errno::NOSYS, Errno::PERM, Errno::ACCESS, Errno::NOMEM] {
            let error = refused(errno.into());
            assert!(matches!(error, Error::Unusable { .. }), "{errno}: {error}");
        }
        for errno in [Errno::MFILE, Errno::NFILE, Errno::FAULT] {
            let error = refused(errno.into());
            assert!(matches!(error, Error::Resources { .. }), "{errno}: {error}");
        }
    }
}

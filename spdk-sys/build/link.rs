//! Which libraries are linked, in which order, and why.
//!
//! Static, because SPDK promises no stable binary interface. The transports, the socket implementation, DPDK's bus and
//! its memory pools register themselves in constructors that nothing refers to: a linker would leave them out, so they are
//! taken whole.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::locate::Installation;

/// A library, and whether it is taken whole. Who needs others comes before them; what an SPDK does not have is left out.
const LIBRARIES: &[(&str, bool)] = &[
    ("spdk_nvme", true),
    ("spdk_sock_posix", true),
    ("spdk_env_dpdk", true),
    ("rte_mempool_ring", true),
    ("rte_bus_pci", true),
    ("spdk_vfio_user", false),
    ("spdk_sock", false),
    ("spdk_keyring", false),
    ("spdk_dma", false),
    ("spdk_thread", false),
    ("spdk_trace", false),
    ("spdk_rpc", false),
    ("spdk_jsonrpc", false),
    ("spdk_json", false),
    ("spdk_util", false),
    ("spdk_log", false),
    ("rte_power", false),
    ("rte_mbuf", false),
    ("rte_mempool", false),
    ("rte_ring", false),
    ("rte_pci", false),
    ("rte_eal", false),
    ("rte_telemetry", false),
    ("rte_kvargs", false),
    ("rte_argparse", false),
    ("rte_log", false),
    ("isal_crypto", false),
    ("isal", false),
];

/// A library of the system, and what an archive that needs it refers to. Which ones do differs with the version of SPDK
/// and with how it was configured; asking the archives is right for all of them.
const SYSTEM: &[(&str, &str)] = &[
    ("numa", "numa_available"),
    ("uuid", "uuid_generate"),
    ("ssl", "SSL_new"),
    ("crypto", "EVP_"),
    ("crypto", "HMAC_"),
    ("crypto", "MD5"),
    ("ibverbs", "ibv_"),
    ("rdmacm", "rdma_"),
    ("mlx5", "mlx5dv_"),
    ("fuse3", "fuse_session_new"),
    ("bsd", "arc4random_buf_bsd"),
    ("elf", "elf_begin"),
    ("archive", "archive_read_new"),
];

/// Prints what cargo needs to link against `installation`.
pub fn link(installation: &Installation) -> Result<(), String> {
    let mut directories = BTreeSet::new();
    let mut system = BTreeSet::new();
    for &(name, whole) in LIBRARIES {
        let Some(archive) = installation.archive(name) else {
            continue;
        };
        if let Some(directory) = archive.parent()
            && directories.insert(directory.to_owned())
        {
            println!("cargo::rustc-link-search=native={}", directory.display());
        }
        println!("cargo::rerun-if-changed={}", archive.display());
        // Not bundled: the archives are large, and a bundled one cannot be taken whole by who links this crate.
        let modifiers = if whole {
            "+whole-archive,-bundle"
        } else {
            "-bundle"
        };
        println!("cargo::rustc-link-lib=static:{modifiers}={name}");
        for symbol in undefined(&archive)? {
            system.extend(
                SYSTEM
                    .iter()
                    .filter(|(_, start)| symbol.starts_with(start))
                    .map(|&(library, _)| library),
            );
        }
    }
    for library in system.into_iter().chain(["pthread", "dl", "rt", "m"]) {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
    Ok(())
}

/// The symbols that an archive refers to and its members do not all define.
fn undefined(archive: &Path) -> Result<Vec<String>, String> {
    let nm = std::env::var_os("NM").unwrap_or_else(|| "nm".into());
    let output = Command::new(&nm)
        .args(["-u", "-P"])
        .arg(archive)
        .output()
        .map_err(|error| format!("cannot run {}, which is part of binutils: {error}", nm.display()))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "{} cannot read {}: {}",
            nm.display(),
            archive.display(),
            why.trim()
        ));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect())
}

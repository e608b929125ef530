//! Goal: whoever lacks SPDK is told what to do, and an SPDK that cannot work is refused with the reason. Method: the
//! search of the build script, on made-up prefixes.

#[allow(dead_code, reason = "the build script uses all of it")]
#[path = "../build/locate.rs"]
mod locate;

use std::ffi::OsString;
use std::path::Path;

use locate::{Installation, Missing, Version, locate};

fn prefix(version: &str, libraries: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let headers = directory.path().join("include/spdk");
    std::fs::create_dir_all(&headers).unwrap();
    std::fs::write(headers.join("nvme.h"), "").unwrap();
    let (major, minor) = version.split_once('.').unwrap();
    let text = format!("#define SPDK_VERSION_MAJOR\t{major}\n#define SPDK_VERSION_MINOR\t{minor}\n");
    std::fs::write(headers.join("version.h"), text).unwrap();
    std::fs::create_dir(directory.path().join("lib")).unwrap();
    for name in libraries {
        std::fs::write(directory.path().join(format!("lib/lib{name}.a")), "").unwrap();
    }
    directory
}

fn in_prefix(path: &Path) -> Result<Installation, Missing> {
    locate(
        |name| (name == "SPDK_PREFIX").then(|| OsString::from(path)),
        |_| None,
    )
}

/// Every refusal ends with the two ways out.
fn refused(result: Result<Installation, Missing>) -> String {
    let message = result.unwrap_err().to_string();
    assert!(message.contains("export SPDK_PREFIX=DIR"), "{message}");
    assert!(message.contains("scripts/install-spdk"), "{message}");
    message
}

#[test]
fn nothing_is_installed() {
    let message = refused(locate(|_| None, |_| None));
    assert!(
        message.contains("SPDK_PREFIX is not set, and pkg-config has no spdk_nvme"),
        "{message}"
    );
}

#[test]
fn an_empty_variable_is_as_none() {
    assert!(matches!(
        locate(|_| Some(OsString::new()), |_| None),
        Err(Missing::Nowhere)
    ));
}

/// Not covered up by what pkg-config knows.
#[test]
fn the_prefix_is_wrong() {
    let other = prefix("20.7", &["spdk_nvme", "spdk_env_dpdk", "rte_eal"]);
    let flags = format!("-I{0}/include -L{0}/lib", other.path().display());
    let message = refused(locate(
        |_| Some("/nonexistent/spdk".into()),
        |_| Some(flags.clone()),
    ));
    assert!(
        message.contains("no SPDK in SPDK_PREFIX=/nonexistent/spdk"),
        "{message}"
    );
}

#[test]
fn a_library_is_not_there() {
    let place = prefix("20.7", &["spdk_nvme", "spdk_env_dpdk"]);
    let message = refused(in_prefix(place.path()));
    assert!(message.contains("librte_eal.a"), "{message}");
    assert!(
        message.contains(&format!("{}/lib", place.path().display())),
        "{message}"
    );
}

#[test]
fn it_is_too_old() {
    let place = prefix("20.4", &["spdk_nvme", "spdk_env_dpdk", "rte_eal"]);
    let message = refused(in_prefix(place.path()));
    assert!(
        message.contains("SPDK 20.04") && message.contains("20.07 or later"),
        "{message}"
    );
}

#[test]
fn the_version_is_not_said() {
    let place = prefix("20.7", &[]);
    std::fs::remove_file(place.path().join("include/spdk/version.h")).unwrap();
    let message = refused(in_prefix(place.path()));
    assert!(message.contains("include/spdk/version.h"), "{message}");
}

#[test]
fn a_prefix_is_found() {
    let place = prefix("26.5", &["spdk_nvme", "spdk_env_dpdk", "rte_eal"]);
    let found = in_prefix(place.path()).unwrap();
    assert_eq!(found.version, Version { major: 26, minor: 5 });
    assert_eq!(found.version.to_string(), "26.05");
    assert_eq!(found.include, place.path().join("include"));
    assert_eq!(
        found.archive("rte_eal"),
        Some(place.path().join("lib/librte_eal.a"))
    );
    assert_eq!(found.archive("rte_log"), None);
}

/// DPDK may be another package than SPDK.
#[test]
fn pkg_config_finds_it() {
    let spdk = prefix("24.9", &["spdk_nvme", "spdk_env_dpdk"]);
    let dpdk = prefix("24.9", &["rte_eal"]);
    let of = |place: &tempfile::TempDir| format!("-I{0}/include -L{0}/lib\n", place.path().display());
    let found = locate(
        |_| None,
        |arguments| {
            Some(of(if arguments.contains(&"libdpdk") {
                &dpdk
            } else {
                &spdk
            }))
        },
    )
    .unwrap();
    assert_eq!(found.version, Version { major: 24, minor: 9 });
    assert_eq!(
        found.archive("spdk_nvme"),
        Some(spdk.path().join("lib/libspdk_nvme.a"))
    );
    assert_eq!(
        found.archive("rte_eal"),
        Some(dpdk.path().join("lib/librte_eal.a"))
    );
}

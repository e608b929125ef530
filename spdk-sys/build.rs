//! Finds SPDK, generates the bindings, compiles the shim and says what to link; nothing of it without the feature `link`.
//!
//! Who depends on this crate directly gets `DEP_SPDK_VERSION` (such as `20.07`), `DEP_SPDK_INCLUDE` and
//! `DEP_SPDK_INTERRUPTS` (0 or 1) in its own build script.

#[cfg(feature = "link")]
#[path = "build/bindings.rs"]
mod bindings;
#[cfg(feature = "link")]
#[path = "build/link.rs"]
mod link;
#[cfg(feature = "link")]
#[path = "build/locate.rs"]
mod locate;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    println!("cargo::rustc-check-cfg=cfg(spdk_interrupts)");
    #[cfg(feature = "link")]
    if let Err(message) = build() {
        // Not a panic: its backtrace would bury what to do.
        eprintln!("\n{message}\n");
        std::process::exit(1);
    }
}

#[cfg(feature = "link")]
fn build() -> Result<(), String> {
    for name in ["SPDK_PREFIX", "PKG_CONFIG_PATH", "PKG_CONFIG", "NM"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let installation =
        locate::locate(|name| std::env::var_os(name), pkg_config).map_err(|missing| missing.to_string())?;
    let (locate::Version { major, minor }, include) = (installation.version, &installation.include);
    println!(
        "cargo::rerun-if-changed={}",
        include.join("spdk/version.h").display()
    );
    println!("cargo::metadata=version={}", installation.version);
    println!("cargo::metadata=include={}", include.display());
    let interrupts = (major, minor) >= (25, 5);
    println!("cargo::metadata=interrupts={}", u8::from(interrupts));
    if interrupts {
        println!("cargo::rustc-cfg=spdk_interrupts");
    }
    bindings::generate(include)?;
    // The shim comes before what it calls.
    bindings::compile_shim(include);
    link::link(&installation)
}

#[cfg(feature = "link")]
fn pkg_config(arguments: &[&str]) -> Option<String> {
    let program = std::env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into());
    let output = std::process::Command::new(program)
        .env("PKG_CONFIG_ALLOW_SYSTEM_CFLAGS", "1")
        .env("PKG_CONFIG_ALLOW_SYSTEM_LIBS", "1")
        .args(arguments)
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

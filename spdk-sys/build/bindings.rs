//! What of SPDK is bound: exactly what a device adapter calls, and the types that follow from it.

use std::path::{Path, PathBuf};

/// Functions, by header. Where a signature differs between versions, its stand-in in `shim.h` is bound instead.
const FUNCTIONS: &[&str] = &[
    // shim.h
    "spdk_shim_.*",
    // env.h: memory and process
    "spdk_env_fini",
    "spdk_malloc",
    "spdk_zmalloc",
    "spdk_free",
    "spdk_dma_malloc",
    "spdk_dma_zmalloc",
    "spdk_dma_free",
    "spdk_mem_register",
    "spdk_mem_unregister",
    "spdk_process_is_primary",
    "spdk_iommu_is_enabled",
    "spdk_unaffinitize_thread",
    "spdk_get_ticks",
    "spdk_get_ticks_hz",
    // env.h: PCI
    "spdk_pci_addr_(parse|fmt|compare)",
    "spdk_pci_nvme_get_driver",
    "spdk_pci_enumerate",
    "spdk_pci_device_get_(addr|vendor_id|device_id|subvendor_id|subdevice_id|id|type|serial_number)",
    "spdk_pci_device_is_removed",
    "spdk_pci_device_cfg_read(8|16|32)?",
    // log.h
    "spdk_log_(set|get)_(level|print_level|flag)",
    // nvme.h: addresses
    "spdk_nvme_transport_id_(parse|compare|parse_trtype|trtype_str|parse_adrfam|adrfam_str|populate_trstring)",
    "spdk_nvme_trid_populate_transport",
    "spdk_nvme_host_id_parse",
    "spdk_nvme_transport_available(_by_name)?",
    // nvme.h: controllers
    "spdk_nvme_ctrlr_get_default_ctrlr_opts",
    "spdk_nvme_connect",
    "spdk_nvme_connect_async",
    "spdk_nvme_probe",
    "spdk_nvme_probe_async",
    "spdk_nvme_probe_poll_async",
    "spdk_nvme_detach",
    "spdk_nvme_ctrlr_(reset|fail|is_failed|is_discovery|get_data|get_transport_id|get_pci_device|get_flags)",
    "spdk_nvme_ctrlr_(get_num_ns|is_active_ns|get_first_active_ns|get_next_active_ns|get_ns)",
    "spdk_nvme_ctrlr_get_max_xfer_size",
    "spdk_nvme_ctrlr_get_admin_qp_failure_reason",
    "spdk_nvme_ctrlr_is_(log_page|feature)_supported",
    "spdk_nvme_ctrlr_process_admin_completions",
    "spdk_nvme_ctrlr_register_aer_callback",
    "spdk_nvme_ctrlr_cmd_(abort|abort_ext|get_log_page|get_feature|set_feature)",
    // nvme.h: queue pairs and groups of them
    "spdk_nvme_ctrlr_get_default_io_qpair_opts",
    "spdk_nvme_ctrlr_(alloc|connect|disconnect|reconnect|free)_io_qpair",
    "spdk_nvme_qpair_(process_completions|get_failure_reason)",
    "spdk_nvme_poll_group_(add|remove|destroy|process_completions|get_ctx)",
    // nvme.h: namespaces
    "spdk_nvme_ns_(get_data|get_id|get_ctrlr|is_active|get_max_io_xfer_size|get_sector_size|get_num_sectors|get_size)",
    "spdk_nvme_ns_(get_extended_sector_size|get_pi_type|get_md_size|supports_extended_lba|get_flags|get_uuid)",
    "spdk_nvme_ns_(get_dealloc_logical_block_read_value|get_optimal_io_boundary)",
    "spdk_nvme_ns_cmd_(read|write|readv|writev|flush|dataset_management|write_zeroes)",
    // nvme.h: statuses
    "spdk_nvme_cpl_get_status_string",
    // nvme.h: planting errors, for tests of what follows from them
    "spdk_nvme_qpair_(add|remove)_cmd_error_injection",
];

/// Types that no function above names.
const TYPES: &[&str] = &[
    "spdk_nvme_cmd",
    "spdk_nvme_dsm_range",
    "spdk_nvme_ns_flags",
    "spdk_nvme_ctrlr_flags",
    "spdk_nvme_status_code_type",
    "spdk_nvme_generic_command_status_code",
    "spdk_nvme_command_specific_status_code",
    "spdk_nvme_media_error_status_code",
    "spdk_nvme_path_status_code",
    "spdk_nvme_async_event_type",
    "spdk_nvme_dsm_attribute",
    "spdk_nvme_nvm_opcode",
    "spdk_nvme_log_page",
];

/// Constants that are no members of the enums above.
const CONSTANTS: &[&str] = &[
    "SPDK_SHIM_.*",
    "SPDK_MALLOC_(DMA|SHARE)",
    "SPDK_NVME_DEFAULT_RETRY_COUNT",
    "SPDK_NVME_TRANSPORT_NAME_.*",
    "SPDK_NVME_DSM_ATTR_.*",
    "SPDK_NVMF_(NQN|TRADDR|TRSVCID)_MAX_LEN",
    "SPDK_NVMF_DISCOVERY_NQN",
];

/// Types whose bit fields bindgen lays out wrongly (it would make a command 72 bytes instead of 64), or that mix packed
/// and aligned members, which Rust refuses. They keep size and alignment and lose their fields; the shim reads what is
/// needed of them.
const OPAQUE: &[&str] = &[
    "spdk_nvme_feat_async_event_configuration.*",
    "spdk_nvme_sgl_descriptor.*",
    "spdk_nvme_health_information_page",
    "spdk_nvme_ctrlr_data.*",
];

/// Never needed, and not representable.
const BLOCKED: &[&str] = &["spdk_nvmf_fabric_.*", "spdk_nvme_tcp_(cmd|rsp)"];

/// Writes `bindings.rs` into the output directory of the build.
pub fn generate(include: &Path) -> Result<(), String> {
    println!("cargo::rerun-if-changed=src/shim.h");
    let mut builder = bindgen::Builder::default()
        .header("src/shim.h")
        .clang_arg(format!("-I{}", include.display()))
        // An enum of C may hold any value; as an enum of Rust, one that it does not list would be undefined behaviour.
        .default_enum_style(bindgen::EnumVariation::Consts)
        .prepend_enum_name(false)
        .derive_debug(false)
        .derive_default(true)
        .generate_comments(false)
        .layout_tests(true)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .formatter(bindgen::Formatter::None)
        .parse_callbacks(Box::new(
            bindgen::CargoCallbacks::new().rerun_on_header_files(false),
        ));
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for name in CONSTANTS {
        builder = builder.allowlist_var(name);
    }
    for name in OPAQUE {
        builder = builder.opaque_type(name);
    }
    for name in BLOCKED {
        builder = builder.blocklist_type(name);
    }
    // bindgen panics where libclang cannot be loaded.
    let bindings = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| builder.generate()))
        .map_err(|_| {
            "libclang, which reads SPDK's headers, cannot be loaded (see above)\n  \
             On Debian: apt-get install libclang-dev; elsewhere set LIBCLANG_PATH to the directory of libclang.so"
                .to_owned()
        })?
        .map_err(|error| format!("SPDK's headers in {} cannot be bound: {error}", include.display()))?;
    let path = output().join("bindings.rs");
    bindings
        .write_to_file(&path)
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// Compiles `shim.c` and links it.
pub fn compile_shim(include: &Path) {
    println!("cargo::rerun-if-changed=src/shim.c");
    cc::Build::new()
        .file("src/shim.c")
        .include(include)
        .std("gnu11")
        .extra_warnings(true)
        .compile("spdk_shim");
}

fn output() -> PathBuf {
    // Cargo sets it for every build script.
    PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default())
}

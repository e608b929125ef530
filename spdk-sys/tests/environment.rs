//! Goal: the bindings fit the SPDK that they were made from, and SPDK works in a process that has them. Method: sizes that
//! the NVMe specification fixes; an environment in ordinary memory, which needs neither hugepages nor root. One process
//! has one environment, so that one test does all that needs it.
#![cfg(feature = "link")]
#![allow(unsafe_code, reason = "calls SPDK")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::mem::{align_of, size_of};
use std::ptr;
use std::sync::Mutex;

use spdk_sys::*;

/// What bindgen does not check by itself: its idea of a layout against the specification's.
#[test]
fn sizes_are_those_of_the_specification() {
    assert_eq!(size_of::<spdk_nvme_cmd>(), 64);
    assert_eq!(size_of::<spdk_nvme_cpl>(), 16);
    assert_eq!(size_of::<spdk_nvme_status>(), 2);
    assert_eq!(size_of::<spdk_nvme_ctrlr_data>(), 4096);
    assert_eq!(size_of::<spdk_nvme_ns_data>(), 4096);
    assert_eq!(size_of::<spdk_nvme_dsm_range>(), 16);
    assert_eq!(align_of::<spdk_nvme_cpl>(), 4);
}

#[test]
fn flags_are_those_of_the_specification() {
    assert_eq!(SPDK_SHIM_IO_FUA, 1 << 30);
    assert_eq!(SPDK_NVME_DSM_ATTR_DEALLOCATE, 4);
    assert_eq!(SPDK_SHIM_ALL_NAMESPACES, u32::MAX);
    assert_eq!(SPDK_SHIM_VTOPHYS_ERROR, u64::MAX);
    assert!((SPDK_SHIM_VERSION_MAJOR, SPDK_SHIM_VERSION_MINOR) >= (20, 7));
}

#[test]
fn statuses_are_taken_apart() {
    let mut cpl = spdk_nvme_cpl {
        cdw0: 7,
        ..spdk_nvme_cpl::default()
    };
    // SAFETY: a completion on the stack, whose bytes are all initialised.
    let good = unsafe { spdk_shim_cpl_status(&raw const cpl) };
    assert!(!good.error && good.result == 7);
    // Phase 1, code 0x81, type 2 (media and data integrity), do not retry: an unrecovered read error.
    cpl.__bindgen_anon_1.status_raw = 1 | 0x81 << 1 | 2 << 9 | 1 << 15;
    // SAFETY: as above.
    let bad = unsafe { spdk_shim_cpl_status(&raw const cpl) };
    assert!(bad.error && bad.do_not_retry && !bad.more);
    assert_eq!(
        (u32::from(bad.code_type), u32::from(bad.code)),
        (SPDK_NVME_SCT_MEDIA_ERROR, SPDK_NVME_SC_UNRECOVERED_READ_ERROR)
    );
    // SAFETY: as above.
    assert!(!unsafe { spdk_shim_status_is_aborted(&raw const cpl) });
    cpl.__bindgen_anon_1.status_raw = 7 << 1;
    // SAFETY: as above.
    assert!(unsafe { spdk_shim_status_is_aborted(&raw const cpl) });
    cpl.cdw0 = 0x0002_0302;
    // SAFETY: as above.
    let event = unsafe { spdk_shim_cpl_event(&raw const cpl) };
    assert_eq!((event.type_, event.info, event.log_page), (2, 3, 2));
}

static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

unsafe extern "C" fn log(level: c_int, _: *const c_char, _: c_int, _: *const c_char, message: *const c_char) {
    // SAFETY: the shim passes a string that is ended by a zero byte and lives until this returns.
    let text = unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned();
    LOG.lock().unwrap().push(format!("{level}: {text}"));
}

fn logged() -> String {
    std::mem::take(&mut *LOG.lock().unwrap()).join("\n")
}

fn parse(text: &str) -> Result<spdk_nvme_transport_id, c_int> {
    let mut id = spdk_nvme_transport_id::default();
    let text = CString::new(text).unwrap();
    // SAFETY: `id` is writable and zeroed, which is what the parser wants; `text` is a string of C.
    match unsafe { spdk_nvme_transport_id_parse(&raw mut id, text.as_ptr()) } {
        0 => Ok(id),
        code => Err(code),
    }
}

fn field(bytes: &[c_char]) -> String {
    // SAFETY: the parser ends each field with a zero byte inside it.
    unsafe { CStr::from_ptr(bytes.as_ptr()) }
        .to_string_lossy()
        .into_owned()
}

#[test]
fn an_environment_without_hugepages() {
    // SAFETY: `log` has the signature asked for, never unwinds except by a poisoned lock, and is there for ever.
    assert_eq!(unsafe { spdk_shim_log_open(Some(log)) }, 0);

    let id = parse("trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:4420 subnqn:nqn.2016-06.io.spdk:cnode1")
        .unwrap();
    assert_eq!(id.trtype, SPDK_NVME_TRANSPORT_TCP);
    assert_eq!(field(&id.traddr), "127.0.0.1");
    assert_eq!(field(&id.trsvcid), "4420");
    assert_eq!(field(&id.subnqn), "nqn.2016-06.io.spdk:cnode1");
    assert_eq!(
        parse("trtype:PCIe traddr:0000:5e:00.0").unwrap().trtype,
        SPDK_NVME_TRANSPORT_PCIE
    );
    assert!(parse("nonsense").is_err());
    assert_ne!(logged(), "", "SPDK says through the log why it cannot parse");

    let name = CString::new(format!("spdk-sys-{}", std::process::id())).unwrap();
    let env = spdk_shim_env {
        name: name.as_ptr(),
        shm_id: -1,
        memory_mib: 64,
        no_pci: true,
        no_huge: true,
        ..spdk_shim_env::default()
    };
    // SAFETY: `env` and `name` outlive the call, and no other environment was made in this process.
    let code = unsafe { spdk_shim_env_init(&raw const env) };
    assert_eq!(code, 0, "{}", logged());

    // Both transports registered themselves: the libraries were taken whole.
    for transport in [SPDK_NVME_TRANSPORT_PCIE, SPDK_NVME_TRANSPORT_TCP] {
        // SAFETY: looks a number up in a list.
        let available = unsafe { spdk_nvme_transport_available(transport) };
        assert!(available, "transport {transport}");
    }

    // SAFETY: the environment was made; a third argument is unused since 21.x and may be null before.
    let memory = unsafe {
        spdk_zmalloc(
            1 << 20,
            4096,
            ptr::null_mut(),
            SPDK_SHIM_ANY_NODE,
            SPDK_MALLOC_DMA,
        )
    };
    assert!(!memory.is_null());
    assert!(memory.cast::<u8>().addr().is_multiple_of(4096));
    // SAFETY: the allocation is of this size, zeroed, and nobody else has it.
    let bytes = unsafe { std::slice::from_raw_parts(memory.cast::<u8>(), 1 << 20) };
    assert!(bytes.iter().all(|&byte| byte == 0));
    // SAFETY: looks an address up; the second argument may be null.
    let foreign = unsafe { spdk_shim_vtophys(ptr::from_ref(&env).cast::<c_void>(), ptr::null_mut()) };
    assert_eq!(
        foreign, SPDK_SHIM_VTOPHYS_ERROR,
        "the stack is no memory of devices"
    );
    // SAFETY: from `spdk_zmalloc`, and not used after this.
    unsafe { spdk_free(memory) };

    // Nothing listens there: an error, not an abort and not a wait.
    logged();
    let id =
        parse("trtype:TCP adrfam:IPv4 traddr:127.0.0.1 trsvcid:1 subnqn:nqn.2016-06.io.spdk:cnode1").unwrap();
    // SAFETY: `id` lives during the call; without options SPDK takes its own.
    let controller = unsafe { spdk_nvme_connect(&raw const id, ptr::null(), 0) };
    assert!(controller.is_null());
    assert_ne!(logged(), "", "SPDK says through the log why it cannot connect");

    // SAFETY: nothing of the environment is used any more.
    unsafe { spdk_env_fini() };
    // SAFETY: undoes the redirection made above.
    unsafe { spdk_shim_log_close() };
}

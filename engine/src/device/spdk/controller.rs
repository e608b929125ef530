//! An attached NVMe controller.
//!
//! Owns the attachment: the controller is detached when the last [`Attached`] goes, and every queue pair holds one, so
//! that nothing can use a detached controller. The control thread (`control`) is the only one that makes queue pairs,
//! ends them, resets and detaches; other threads only submit to and poll the queue pair they have.
//!
//! Connecting and resetting may take long, and in SPDK 20.07 for ever where a target hangs in the middle; callers look
//! whether it greets first (`transport`).
#![allow(unsafe_code, reason = "calls SPDK")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::io::{self, ErrorKind};
use std::mem::size_of;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use spdk_sys::{spdk_nvme_ctrlr, spdk_nvme_ns};

use super::environment::said;
use super::namespace::Facts;

/// The target gives a connection up when it hears nothing for this long; SPDK sends keep-alives a few times as often.
const KEEP_ALIVE_MS: u32 = 10_000;
/// Events that may wait to be looked at.
const EVENTS_MAX: usize = 64;
/// Pause between two looks whether a detachment is done.
const DETACH_LOOK: Duration = Duration::from_millis(1);

/// What a controller says without being asked (NVMe base specification, "Asynchronous Event Request").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) kind: u8,
    pub(super) info: u8,
    pub(super) log_page: u8,
}

/// See the module.
pub(super) struct Attached {
    controller: NonNull<spdk_nvme_ctrlr>,
    /// Where the event callback puts events; SPDK has its address.
    events: Arc<ArrayQueue<Event>>,
    /// An abort was sent and not answered; SPDK has its address too.
    aborting: Arc<AtomicBool>,
}

// SAFETY: SPDK guards a controller with a lock of its own; what must be called by one thread at a time belongs to a queue
// pair.
unsafe impl Send for Attached {}
// SAFETY: as above.
unsafe impl Sync for Attached {}

impl Attached {
    /// Connects to the controller that `id` (in SPDK's notation) names. The environment must have been started.
    /// `admin`: the bound for one command to the controller itself, where SPDK would wait for ever; a controller that
    /// exceeds it is given up until it is reset.
    pub(super) fn connect(id: &str, bound: Duration, admin: Option<Duration>) -> io::Result<Attached> {
        let invalid = |what: &str| io::Error::new(ErrorKind::InvalidInput, format!("`{id}` {what}"));
        let text = CString::new(id).map_err(|_| invalid("has a zero byte in it"))?;
        // What was said before is about something else.
        said();
        let mut transport = spdk_sys::spdk_nvme_transport_id::default();
        // SAFETY: `transport` is writable and zeroed, which is what the parser wants; `text` is a string of C.
        if unsafe { spdk_sys::spdk_nvme_transport_id_parse(&raw mut transport, text.as_ptr()) } != 0 {
            return Err(invalid(&format!("names no controller: {}", said())));
        }
        let mut options = spdk_sys::spdk_nvme_ctrlr_opts::default();
        let size = size_of::<spdk_sys::spdk_nvme_ctrlr_opts>();
        // SAFETY: the size is that of the structure.
        unsafe { spdk_sys::spdk_nvme_ctrlr_get_default_ctrlr_opts(&raw mut options, size) };
        options.keep_alive_timeout_ms = KEEP_ALIVE_MS;
        if let Some(admin) = admin {
            // Whole seconds to SPDK, where none means for ever.
            options.admin_timeout_ms = u32::try_from(admin.as_millis()).unwrap_or(u32::MAX).max(1000);
        }
        let bound_us = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX);
        // SAFETY: `options` is writable. Whether the version can is no matter: see the module.
        unsafe { spdk_sys::spdk_shim_opts_connect_timeout(&raw mut options, bound_us) };
        // SAFETY: both live during the call, and the size is that of the options.
        let controller =
            unsafe { spdk_sys::spdk_nvme_connect(&raw const transport, &raw const options, size) };
        let Some(controller) = NonNull::new(controller) else {
            return Err(io::Error::new(
                ErrorKind::ConnectionRefused,
                format!(
                    "the controller cannot be attached: {}; check the subsystem's name, whether it lets this host in, and \
                     whether another process has the device",
                    said()
                ),
            ));
        };
        let attached = Attached {
            controller,
            events: Arc::new(ArrayQueue::new(EVENTS_MAX)),
            aborting: Arc::default(),
        };
        let queue = Arc::as_ptr(&attached.events).cast_mut().cast::<c_void>();
        // SAFETY: the queue lives until the controller is detached, after which nothing is called.
        unsafe {
            spdk_sys::spdk_nvme_ctrlr_register_aer_callback(controller.as_ptr(), Some(event), queue);
        }
        if let Some(admin) = admin {
            let admin_us = u64::try_from(admin.as_micros()).unwrap_or(u64::MAX);
            // SAFETY: the controller is attached; the callback uses nothing but it.
            unsafe {
                spdk_sys::spdk_shim_register_timeout(
                    controller.as_ptr(),
                    admin_us,
                    admin_us,
                    Some(overdue),
                    ptr::null_mut(),
                );
            }
        }
        Ok(attached)
    }

    /// For queue pairs.
    pub(super) fn raw(&self) -> NonNull<spdk_nvme_ctrlr> {
        self.controller
    }

    /// Whether an abort is under way.
    pub(super) fn aborting(&self) -> &Arc<AtomicBool> {
        &self.aborting
    }

    /// Model, serial number and firmware, for the log.
    pub(super) fn describe(&self) -> String {
        let info = self.info();
        let text = |field: &[c_char]| {
            // SAFETY: the shim ends each field with a zero byte inside it.
            unsafe { CStr::from_ptr(field.as_ptr()) }
                .to_string_lossy()
                .into_owned()
        };
        format!(
            "{} {} (firmware {})",
            text(&info.model),
            text(&info.serial),
            text(&info.firmware)
        )
    }

    fn info(&self) -> spdk_sys::spdk_shim_ctrlr {
        let mut info = spdk_sys::spdk_shim_ctrlr::default();
        // SAFETY: the controller is attached while `self` lives.
        unsafe { spdk_sys::spdk_shim_ctrlr_info(self.controller.as_ptr(), &raw mut info) };
        info
    }

    /// The active namespaces.
    pub(super) fn namespaces(&self) -> Vec<u32> {
        let mut found = Vec::new();
        // SAFETY: as above.
        let mut id = unsafe { spdk_sys::spdk_nvme_ctrlr_get_first_active_ns(self.controller.as_ptr()) };
        while id != 0 {
            found.push(id);
            // SAFETY: as above.
            id = unsafe { spdk_sys::spdk_nvme_ctrlr_get_next_active_ns(self.controller.as_ptr(), id) };
        }
        found
    }

    /// The namespace `id`, for queue pairs: valid while `self` lives.
    pub(super) fn namespace(&self, id: u32) -> io::Result<NonNull<spdk_nvme_ns>> {
        // SAFETY: as above.
        let active = unsafe { spdk_sys::spdk_nvme_ctrlr_is_active_ns(self.controller.as_ptr(), id) };
        if active {
            // SAFETY: as above.
            let namespace = unsafe { spdk_sys::spdk_nvme_ctrlr_get_ns(self.controller.as_ptr(), id) };
            if let Some(namespace) = NonNull::new(namespace) {
                return Ok(namespace);
            }
        }
        let found = self.namespaces();
        let others = if found.is_empty() {
            "it has none; attach or make one (`nvme create-ns`)".to_owned()
        } else {
            let found: Vec<String> = found.iter().map(u32::to_string).collect();
            format!("it has {}", found.join(", "))
        };
        Err(io::Error::new(
            ErrorKind::NotFound,
            format!("the controller has no namespace {id}; {others}"),
        ))
    }

    /// What the namespace `id` is.
    pub(super) fn facts(&self, id: u32) -> io::Result<Facts> {
        let namespace = self.namespace(id)?.as_ptr();
        let controller = self.info();
        let mut info = spdk_sys::spdk_shim_ns::default();
        // SAFETY: a namespace of an attached controller, here and below.
        unsafe { spdk_sys::spdk_shim_ns_info(namespace, &raw mut info) };
        // SAFETY: as above.
        let block = unsafe { spdk_sys::spdk_nvme_ns_get_sector_size(namespace) };
        // SAFETY: as above.
        let blocks = unsafe { spdk_sys::spdk_nvme_ns_get_num_sectors(namespace) };
        // SAFETY: as above.
        let metadata = unsafe { spdk_sys::spdk_nvme_ns_get_md_size(namespace) };
        // SAFETY: as above.
        let protection = unsafe { spdk_sys::spdk_nvme_ns_get_pi_type(namespace) };
        // SAFETY: as above.
        let transfer_max = unsafe { spdk_sys::spdk_nvme_ns_get_max_io_xfer_size(namespace) };
        Ok(Facts {
            block,
            metadata,
            protection,
            format: info.format,
            bytes: blocks.saturating_mul(u64::from(block)),
            transfer_max,
            thin: info.thin,
            deallocate: controller.dataset_management,
            write_zeroes: controller.write_zeroes,
            volatile_cache: controller.volatile_write_cache,
        })
    }

    /// Takes what the admin queue has completed, sends keep-alives when they are due. An error: the controller is gone.
    pub(super) fn poll_admin(&self) -> Result<(), i32> {
        // SAFETY: the controller is attached; SPDK takes its lock.
        let done = unsafe { spdk_sys::spdk_nvme_ctrlr_process_admin_completions(self.controller.as_ptr()) };
        if done < 0 { Err(done) } else { Ok(()) }
    }

    /// The oldest event nobody has seen.
    pub(super) fn event(&self) -> Option<Event> {
        self.events.pop()
    }

    /// Whether the device is about to be pulled out, or was.
    pub(super) fn is_removed(&self) -> bool {
        let device = self.pci_device();
        // SAFETY: a device of an attached controller.
        !device.is_null() && unsafe { spdk_sys::spdk_pci_device_is_removed(device) }
    }

    /// Whether it is a device of this machine.
    pub(super) fn is_local(&self) -> bool {
        !self.pci_device().is_null()
    }

    /// Null for a controller over a network.
    fn pci_device(&self) -> *mut spdk_sys::spdk_pci_device {
        // SAFETY: the controller is attached.
        unsafe { spdk_sys::spdk_nvme_ctrlr_get_pci_device(self.controller.as_ptr()) }
    }

    /// Whether nothing answers where the device was.
    pub(super) fn is_gone(&self) -> bool {
        // SAFETY: the controller is attached. Where its registers are not mapped any more SPDK maps others in their place,
        // which read like those of a device that is gone.
        unsafe { spdk_sys::spdk_shim_ctrlr_is_gone(self.controller.as_ptr()) }
    }

    /// Gives up a device that is gone: nothing is asked of it any more, and what it had of ours it has no more.
    pub(super) fn removed(&self) {
        // SAFETY: the controller is attached, and the callers have taken the queue pairs from all other threads.
        unsafe { spdk_sys::spdk_shim_ctrlr_removed(self.controller.as_ptr()) };
    }

    /// Starts the controller anew, over a new connection where it has one. No other thread may have a queue pair; over a
    /// network, none may exist.
    pub(super) fn reset(&self) -> io::Result<()> {
        said();
        if self.is_local() {
            // SAFETY: the controller is attached, and no other thread has a queue pair of it.
            unsafe { spdk_sys::spdk_shim_ctrlr_disable(self.controller.as_ptr()) };
        }
        // SAFETY: the controller is attached, and no other thread has a queue pair of it.
        match unsafe { spdk_sys::spdk_nvme_ctrlr_reset(self.controller.as_ptr()) } {
            0 => Ok(()),
            code => Err(io::Error::other(format!(
                "the controller cannot be reset (error {}): {}",
                -code,
                said()
            ))),
        }
    }

    /// Gives the controller up: from now on SPDK waits for nothing from it, which matters when it is detached.
    pub(super) fn fail(&self) {
        // SAFETY: the controller is attached; SPDK takes its lock.
        unsafe { spdk_sys::spdk_nvme_ctrlr_fail(self.controller.as_ptr()) };
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        let mut context = ptr::null_mut();
        // SAFETY: the last holder: no queue pair exists, and nothing of the controller is used after this.
        let code = unsafe { spdk_sys::spdk_shim_detach_begin(self.controller.as_ptr(), &raw mut context) };
        if code != 0 {
            tracing::warn!(code, "the controller could not be detached: {}", said());
            // It may still report events: what they are reported to stays for ever.
            std::mem::forget((Arc::clone(&self.events), Arc::clone(&self.aborting)));
            return;
        }
        // SAFETY: the context of the detachment above, until it is done.
        while unsafe { spdk_sys::spdk_shim_detach_poll(context) } == -rustix::io::Errno::AGAIN.raw_os_error()
        {
            std::thread::park_timeout(DETACH_LOOK);
        }
    }
}

/// Called by SPDK, wherever it looks for completions, about a command that has exceeded the bound.
unsafe extern "C" fn overdue(
    _: *mut c_void,
    controller: *mut spdk_nvme_ctrlr,
    qpair: *mut spdk_sys::spdk_nvme_qpair,
    _: u16,
) {
    // Those of queue pairs are a matter of lanes.
    if qpair.is_null() {
        // SAFETY: the controller is the one that is being polled; the lock that SPDK takes is recursive.
        unsafe { spdk_sys::spdk_nvme_ctrlr_fail(controller) };
    }
}

/// Called by SPDK inside `poll_admin`.
unsafe extern "C" fn event(queue: *mut c_void, cpl: *const spdk_sys::spdk_nvme_cpl) {
    // SAFETY: the queue of `connect`, which lives until the controller is detached; it is only ever shared.
    let queue = unsafe { &*queue.cast_const().cast::<ArrayQueue<Event>>() };
    // SAFETY: SPDK passes a completion that lives until this returns.
    let status = unsafe { spdk_sys::spdk_shim_cpl_status(cpl) };
    if status.error {
        // Requests for events end like this when the controller goes.
        return;
    }
    // SAFETY: as above.
    let event = unsafe { spdk_sys::spdk_shim_cpl_event(cpl) };
    // With so many unseen, one more tells nothing new.
    let _ = queue.push(Event {
        kind: event.type_,
        info: event.info,
        log_page: event.log_page,
    });
}

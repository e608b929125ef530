/*
 * What the bindings are generated from: the headers of the installed SPDK, and the functions of shim.c.
 *
 * A function is here for one of three reasons: SPDK has a macro or a static inline for it, which cannot be linked; its
 * signature or a field it needs differs between SPDK 20.07 and 26.x; or its argument is a va_list. Nothing here decides
 * anything: what to do with an answer is the caller's.
 */
#ifndef SPDK_SYS_SHIM_H
#define SPDK_SYS_SHIM_H

#include <spdk/stdinc.h>
#include <spdk/env.h>
#include <spdk/log.h>
#include <spdk/nvme.h>
#include <spdk/version.h>

/* Values of macros, which bindgen takes over with another type or not at all. */
enum {
	SPDK_SHIM_VERSION_MAJOR = SPDK_VERSION_MAJOR,
	SPDK_SHIM_VERSION_MINOR = SPDK_VERSION_MINOR,
};
/* For io_flags: the command completes when the data is on the medium. */
static const uint32_t SPDK_SHIM_IO_FUA = SPDK_NVME_IO_FLAGS_FORCE_UNIT_ACCESS;
static const uint32_t SPDK_SHIM_IO_LIMITED_RETRY = SPDK_NVME_IO_FLAGS_LIMITED_RETRY;
/* For the namespace of a command: all of them. */
static const uint32_t SPDK_SHIM_ALL_NAMESPACES = SPDK_NVME_GLOBAL_NS_TAG;
/* spdk_shim_vtophys() of other memory. */
static const uint64_t SPDK_SHIM_VTOPHYS_ERROR = SPDK_VTOPHYS_ERROR;
/* Memory of any NUMA node. */
static const int32_t SPDK_SHIM_ANY_NODE = SPDK_ENV_SOCKET_ID_ANY;

/*
 * What a process wants from the environment; zeroes are SPDK's defaults, except where said. The strings and the list
 * must live until spdk_shim_env_init() returns.
 */
struct spdk_shim_env {
	const char *name;		/* of this process among those of DPDK; needed */
	const char *core_mask;		/* "0x1" or "[0,2]"; DPDK pins the calling thread to its first core */
	const char *hugedir;		/* a mounted hugetlbfs */
	const char *iova_mode;		/* "pa" or "va" */
	const char *extra;		/* one more argument for DPDK, in versions from 21.x several with spaces */
	const struct spdk_pci_addr *allowed; /* the only devices to touch, or NULL for all */
	size_t allowed_count;
	int shm_id;			/* processes with the same one share memory and devices; -1: alone */
	int memory_mib;			/* reserved now; 0: taken as needed (with no_huge: 64) */
	bool no_pci;			/* fabrics only */
	bool no_huge;			/* ordinary memory instead of hugepages: for fabrics and tests, never for PCIe */
};

/*
 * spdk_env_opts_init() and spdk_env_init(). 0, or a negative errno; the log says why. With spdk_shim_log_open() before it,
 * what SPDK prints meanwhile goes there too, and so does what other threads print through C's streams.
 */
int spdk_shim_env_init(const struct spdk_shim_env *env);

/*
 * One message, ended by a zero byte and without a newline. `level` is one of enum spdk_log_level. `file` and `func` may
 * be NULL, and are for messages of DPDK. Called on the thread that logs; must not unwind.
 */
typedef void (*spdk_shim_log_cb)(int level, const char *file, int line, const char *func, const char *message);

/*
 * Sends the messages of SPDK up to spdk_log_set_level(), and those of DPDK, to `callback` instead of standard error and
 * syslog. May be called before the environment is made. 0, or a negative errno.
 */
int spdk_shim_log_open(spdk_shim_log_cb callback);
/* Undoes it. */
void spdk_shim_log_close(void);

/* How a command ended. */
struct spdk_shim_status {
	bool error;
	bool do_not_retry;
	bool more;			/* the error log of the controller says more */
	uint8_t code_type;
	uint8_t code;
	uint32_t result;		/* dword 0: what the command returns beside its status */
};
struct spdk_shim_status spdk_shim_cpl_status(const struct spdk_nvme_cpl *cpl);

/* A completion of an aborted command. */
bool spdk_shim_status_is_aborted(const struct spdk_nvme_cpl *cpl);

/* What an asynchronous event says (NVMe base specification, "Asynchronous Event Request", completion dword 0). */
struct spdk_shim_event {
	uint8_t type;
	uint8_t info;
	uint8_t log_page;
};
struct spdk_shim_event spdk_shim_cpl_event(const struct spdk_nvme_cpl *cpl);

/* What a controller can do (Identify Controller: ONCS, VWC, KAS), whatever the fields are called in this version. */
struct spdk_shim_ctrlr {
	bool dataset_management;
	bool write_zeroes;
	bool volatile_write_cache;
	uint16_t vendor_id;
	uint16_t keep_alive_granularity;	/* in units of 100 ms; 0: keep alive is not supported */
	char serial[21];
	char model[41];
	char firmware[9];
};
void spdk_shim_ctrlr_info(struct spdk_nvme_ctrlr *ctrlr, struct spdk_shim_ctrlr *info);

/* What a namespace is (Identify Namespace). */
struct spdk_shim_ns {
	uint8_t format;			/* index of the LBA format in use */
	bool thin;			/* thin provisioned */
	uint8_t deallocate_read;	/* what reads of deallocated blocks return: enum spdk_nvme_dealloc_logical_block_read_value */
	uint32_t atomic_write_blocks;	/* blocks written atomically across a power failure */
};
void spdk_shim_ns_info(struct spdk_nvme_ns *ns, struct spdk_shim_ns *info);

/* Asks for completions by interrupt; false in versions without it (before 25.05). Before the controller is attached. */
bool spdk_shim_opts_enable_interrupts(struct spdk_nvme_ctrlr_opts *opts);
/*
 * Bounds the time for a fabric's connect command, 0: for ever; false in versions without it (before 20.10). Those wait
 * for ever for a target that accepts a connection and then says nothing, and so must connect where that does no harm.
 */
bool spdk_shim_opts_connect_timeout(struct spdk_nvme_ctrlr_opts *opts, uint64_t us);
/* A file descriptor that becomes readable with completions, or -ENOTSUP. */
int spdk_shim_qpair_fd(struct spdk_nvme_qpair *qpair);
/* Waits for completions of the group's queue pairs and processes them: their number, or -ENOTSUP. */
int spdk_shim_poll_group_wait(struct spdk_nvme_poll_group *group, spdk_nvme_disconnected_qpair_cb disconnected);
struct spdk_nvme_poll_group *spdk_shim_poll_group_create(void *ctx);

/*
 * Clears CC.EN of a local controller, which stops it. spdk_nvme_ctrlr_reset() does so too, but first waits for CSTS.RDY,
 * which a controller with a fatal status may never set again.
 */
void spdk_shim_ctrlr_disable(struct spdk_nvme_ctrlr *ctrlr);

/* Whether the registers of a controller read as if nothing was there. */
bool spdk_shim_ctrlr_is_gone(struct spdk_nvme_ctrlr *ctrlr);

/*
 * Tells SPDK that a controller is gone: from then on its queue pairs end, and it is detached, without any command. No
 * thread may use a queue pair of it meanwhile.
 */
void spdk_shim_ctrlr_removed(struct spdk_nvme_ctrlr *ctrlr);

/*
 * Tells of commands that take longer. Versions before 21.07 know one time for both kinds: the shorter one that is not 0.
 */
void spdk_shim_register_timeout(struct spdk_nvme_ctrlr *ctrlr, uint64_t io_us, uint64_t admin_us,
				spdk_nvme_timeout_cb callback, void *arg);

/* Whether the queue pair is connected: from its failure reason in versions that cannot tell (before 23.09). */
bool spdk_shim_qpair_is_connected(struct spdk_nvme_qpair *qpair);

/*
 * Detaches without waiting for other controllers: begin returns a context to poll, or NULL when it is done already (in
 * versions before 20.10 always: there it waits). poll returns -EAGAIN until it is done.
 */
int spdk_shim_detach_begin(struct spdk_nvme_ctrlr *ctrlr, void **context);
int spdk_shim_detach_poll(void *context);

/* SPDK_SHIM_VTOPHYS_ERROR where `address` is not memory of the environment. */
uint64_t spdk_shim_vtophys(const void *address, uint64_t *size);

/* PCI devices that the environment has attached. */
void spdk_shim_pci_for_each(void *ctx, void (*each)(void *ctx, struct spdk_pci_device *device));
int spdk_shim_pci_numa_node(struct spdk_pci_device *device);

#endif

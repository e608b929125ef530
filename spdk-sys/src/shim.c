/* See shim.h. */
#define _GNU_SOURCE /* fopencookie */
#include "shim.h"

#if SPDK_VERSION >= SPDK_VERSION_NUM(25, 5, 0)
#include <spdk/fd_group.h>
#define HAVE_INTERRUPTS 1
#endif

/* DPDK has its own log, whose stream can be replaced. Declared here because its headers are not installed with SPDK's. */
extern int rte_openlog_stream(FILE *stream);
extern int rte_log_cur_msg_loglevel(void);

/* Read by every thread that logs, written by open and close only. */
static spdk_shim_log_cb g_callback;
static FILE *g_dpdk_stream;

static void
pass_on(int level, const char *file, int line, const char *func, char *message)
{
	spdk_shim_log_cb callback = __atomic_load_n(&g_callback, __ATOMIC_ACQUIRE);
	size_t length = strlen(message);

	while (length > 0 && (message[length - 1] == '\n' || message[length - 1] == '\r')) {
		message[--length] = '\0';
	}
	if (callback != NULL && length > 0) {
		callback(level, file, line, func, message);
	}
}

static void
log_spdk(int level, const char *file, const int line, const char *func, const char *format, va_list args)
{
	char message[1024];

	/* SPDK filters only what it prints itself. */
	if (level > (int)spdk_log_get_level()) {
		return;
	}
	vsnprintf(message, sizeof(message), format, args);
	pass_on(level, file, line, func, message);
}

static ssize_t
log_dpdk(void *cookie, const char *text, size_t length)
{
	char message[1024];
	size_t kept = length < sizeof(message) ? length : sizeof(message) - 1;
	/* RTE_LOG_EMERG is 1, ERR 4, WARNING 5, NOTICE 6, INFO 7, DEBUG 8. */
	int theirs = rte_log_cur_msg_loglevel();
	int level = theirs <= 4 ? SPDK_LOG_ERROR : SPDK_LOG_ERROR + (theirs - 4);

	(void)cookie;
	if (level <= (int)spdk_log_get_level()) {
		memcpy(message, text, kept);
		message[kept] = '\0';
		pass_on(level, NULL, 0, NULL, message);
	}
	/* Nothing is ever left for a second try. */
	return (ssize_t)length;
}

/* What is printed instead of logged, at the level that `cookie` points to. */
static ssize_t
log_printed(void *cookie, const char *text, size_t length)
{
	char message[1024];
	size_t kept = length < sizeof(message) ? length : sizeof(message) - 1;
	int level = *(const int *)cookie;

	if (level <= (int)spdk_log_get_level()) {
		memcpy(message, text, kept);
		message[kept] = '\0';
		pass_on(level, NULL, 0, NULL, message);
	}
	return (ssize_t)length;
}

static FILE *
printed_stream(const int *level)
{
	static const cookie_io_functions_t functions = { .write = log_printed };
	FILE *stream = fopencookie((void *)level, "w", functions);

	if (stream != NULL) {
		setvbuf(stream, NULL, _IOLBF, 1024);
	}
	return stream;
}

int
spdk_shim_log_open(spdk_shim_log_cb callback)
{
	static const cookie_io_functions_t functions = { .write = log_dpdk };

	if (g_dpdk_stream == NULL) {
		g_dpdk_stream = fopencookie(NULL, "w", functions);
		if (g_dpdk_stream == NULL) {
			return -ENOMEM;
		}
		/* DPDK flushes after each message; with full lines one message is one call. */
		setvbuf(g_dpdk_stream, NULL, _IOLBF, 1024);
	}
	__atomic_store_n(&g_callback, callback, __ATOMIC_RELEASE);
	rte_openlog_stream(g_dpdk_stream);
	spdk_log_open(log_spdk);
	return 0;
}

void
spdk_shim_log_close(void)
{
	spdk_log_close();
	/* The stream stays open: another thread may be writing to it. */
	rte_openlog_stream(NULL);
	__atomic_store_n(&g_callback, NULL, __ATOMIC_RELEASE);
}

#if SPDK_VERSION < SPDK_VERSION_NUM(24, 1, 0)
#include <spdk/env_dpdk.h>

extern int rte_eal_init(int argc, char **argv);

/*
 * These versions always tell DPDK to match its allocations to hugepages, which it refuses to do without any. So DPDK is
 * started here, the way programs do that have it already, and SPDK is told to use it.
 */
static int
init_without_hugepages(const struct spdk_env_opts *opts, const char *extra)
{
	/* DPDK keeps pointers to its arguments. */
	static char cores[128], memory[32], prefix[64], iova[32], more[256];
	static char *arguments[16];
	int count = 0, code;

	snprintf(cores, sizeof(cores), opts->core_mask[0] == '[' ? "-l%.*s" : "-c%.*s", 120,
		 opts->core_mask + (opts->core_mask[0] == '['));
	cores[strcspn(cores, "]")] = '\0';
	snprintf(memory, sizeof(memory), "-m%d", opts->mem_size);
	snprintf(iova, sizeof(iova), "--iova-mode=%s", opts->iova_mode);
	if (opts->shm_id < 0) {
		snprintf(prefix, sizeof(prefix), "--file-prefix=spdk_pid%d", (int)getpid());
	} else {
		snprintf(prefix, sizeof(prefix), "--file-prefix=spdk%d", opts->shm_id);
	}
	arguments[count++] = "spdk";
	arguments[count++] = cores;
	arguments[count++] = memory;
	arguments[count++] = prefix;
	arguments[count++] = iova;
	arguments[count++] = "--no-huge";
	arguments[count++] = "--no-telemetry";
	/* Where SPDK puts it too: registered memory must begin at a multiple of 2 MiB. */
	arguments[count++] = "--base-virtaddr=0x200000000000";
	arguments[count++] = "--log-level=lib.eal:6";
	if (opts->shm_id >= 0) {
		arguments[count++] = "--proc-type=auto";
	}
	if (opts->no_pci) {
		arguments[count++] = "--no-pci";
	}
	if (extra != NULL) {
		snprintf(more, sizeof(more), "%s", extra);
		arguments[count++] = more;
	}
	optind = 1;
	code = rte_eal_init(count, arguments);
	if (code < 0) {
		return -EINVAL;
	}
	return spdk_env_dpdk_post_init(true);
}
#endif

static int
env_init(const struct spdk_shim_env *env)
{
	struct spdk_env_opts opts;

	memset(&opts, 0, sizeof(opts));
#if SPDK_VERSION >= SPDK_VERSION_NUM(24, 9, 0)
	/* Read by spdk_env_opts_init(): fields beyond it are left alone. */
	opts.opts_size = sizeof(opts);
#endif
	spdk_env_opts_init(&opts);
	opts.name = env->name;
	opts.shm_id = env->shm_id;
	opts.no_pci = env->no_pci;
	opts.hugedir = env->hugedir;
	if (env->core_mask != NULL) {
		opts.core_mask = env->core_mask;
	}
	if (env->memory_mib > 0) {
		opts.mem_size = env->memory_mib;
	} else if (env->no_huge) {
		opts.mem_size = 64;
	}
	opts.iova_mode = env->iova_mode;
	opts.env_context = (void *)env->extra;
#if SPDK_VERSION >= SPDK_VERSION_NUM(21, 1, 0)
	opts.pci_allowed = (struct spdk_pci_addr *)env->allowed;
#else
	opts.pci_whitelist = (struct spdk_pci_addr *)env->allowed;
#endif
	opts.num_pci_addr = env->allowed != NULL ? env->allowed_count : 0;
	if (env->no_huge) {
		/* Ordinary memory has no fixed physical address. */
		if (opts.iova_mode == NULL) {
			opts.iova_mode = "va";
		}
#if SPDK_VERSION >= SPDK_VERSION_NUM(24, 1, 0)
		opts.no_huge = true;
#else
		return init_without_hugepages(&opts, env->extra);
#endif
	}
	return spdk_env_init(&opts);
}

/*
 * While it starts, SPDK prints as well: its arguments to standard output, where they would be taken for what the program
 * answers, and reasons of failures to standard error. With a log open, C's streams lead there meanwhile.
 */
int
spdk_shim_env_init(const struct spdk_shim_env *env)
{
	static const int levels[2] = { SPDK_LOG_NOTICE, SPDK_LOG_ERROR };
	FILE *own[2] = { stdout, stderr };
	FILE *to[2] = { NULL, NULL };
	int code;

	if (__atomic_load_n(&g_callback, __ATOMIC_ACQUIRE) != NULL) {
		to[0] = printed_stream(&levels[0]);
		to[1] = printed_stream(&levels[1]);
	}
	stdout = to[0] != NULL ? to[0] : own[0];
	stderr = to[1] != NULL ? to[1] : own[1];
	code = env_init(env);
	stdout = own[0];
	stderr = own[1];
	/* Flushed but never closed: a thread that SPDK has started may have taken one up. */
	for (int i = 0; i < 2; i++) {
		if (to[i] != NULL) {
			fflush(to[i]);
		}
	}
	return code;
}

struct spdk_shim_status
spdk_shim_cpl_status(const struct spdk_nvme_cpl *cpl)
{
	return (struct spdk_shim_status) {
		.error = spdk_nvme_cpl_is_error(cpl),
		.do_not_retry = cpl->status.dnr,
		.more = cpl->status.m,
		.code_type = cpl->status.sct,
		.code = cpl->status.sc,
		.result = cpl->cdw0,
	};
}

bool
spdk_shim_status_is_aborted(const struct spdk_nvme_cpl *cpl)
{
	return cpl->status.sct == SPDK_NVME_SCT_GENERIC &&
	       (cpl->status.sc == SPDK_NVME_SC_ABORTED_BY_REQUEST ||
		cpl->status.sc == SPDK_NVME_SC_ABORTED_SQ_DELETION);
}

struct spdk_shim_event
spdk_shim_cpl_event(const struct spdk_nvme_cpl *cpl)
{
	return (struct spdk_shim_event) {
		.type = cpl->cdw0 & 7,
		.info = (cpl->cdw0 >> 8) & 0xff,
		.log_page = (cpl->cdw0 >> 16) & 0xff,
	};
}

/*
 * The data of Identify is read by the offsets of the specification: they cannot change, while the names of the fields
 * do (oncs.dsm is oncs.nvmdsmsv now), and their bit fields are what bindgen gets wrong.
 */
static uint16_t
le16(const uint8_t *at)
{
	return (uint16_t)(at[0] | at[1] << 8);
}

/* Strings of the specification are padded with spaces, not ended. */
static void
padded(char *to, const uint8_t *from, size_t length)
{
	while (length > 0 && (from[length - 1] == ' ' || from[length - 1] == '\0')) {
		length--;
	}
	memcpy(to, from, length);
	to[length] = '\0';
}

void
spdk_shim_ctrlr_info(struct spdk_nvme_ctrlr *ctrlr, struct spdk_shim_ctrlr *info)
{
	const uint8_t *data = (const uint8_t *)spdk_nvme_ctrlr_get_data(ctrlr);
	uint16_t oncs = le16(data + 520);

	memset(info, 0, sizeof(*info));
	info->vendor_id = le16(data);
	padded(info->serial, data + 4, 20);
	padded(info->model, data + 24, 40);
	padded(info->firmware, data + 64, 8);
	info->keep_alive_granularity = le16(data + 320);
	info->dataset_management = oncs >> 2 & 1;
	info->write_zeroes = oncs >> 3 & 1;
	info->volatile_write_cache = data[525] & 1;
}

void
spdk_shim_ns_info(struct spdk_nvme_ns *ns, struct spdk_shim_ns *info)
{
	const uint8_t *data = (const uint8_t *)spdk_nvme_ns_get_data(ns);
	const uint8_t *of_ctrlr = (const uint8_t *)spdk_nvme_ctrlr_get_data(spdk_nvme_ns_get_ctrlr(ns));
	bool own_atomicity = data[24] >> 1 & 1;

	memset(info, 0, sizeof(*info));
	info->thin = data[24] & 1;
	info->format = (data[26] & 0xf) | (data[26] >> 5 & 3) << 4;
	info->deallocate_read = data[33] & 7;
	/* Both are counted from 0. */
	info->atomic_write_blocks = (uint32_t)(own_atomicity ? le16(data + 36) : le16(of_ctrlr + 528)) + 1;
}

bool
spdk_shim_opts_enable_interrupts(struct spdk_nvme_ctrlr_opts *opts)
{
#ifdef HAVE_INTERRUPTS
	opts->enable_interrupts = true;
	return true;
#else
	(void)opts;
	return false;
#endif
}

bool
spdk_shim_opts_connect_timeout(struct spdk_nvme_ctrlr_opts *opts, uint64_t us)
{
#if SPDK_VERSION >= SPDK_VERSION_NUM(20, 10, 0)
	opts->fabrics_connect_timeout_us = us;
	return true;
#else
	(void)opts;
	(void)us;
	return false;
#endif
}

/* Of the driver, for itself. The offset is that of CC in the NVMe base specification, EN its bit 0. */
extern int nvme_transport_ctrlr_get_reg_4(struct spdk_nvme_ctrlr *ctrlr, uint32_t offset, uint32_t *value);
extern int nvme_transport_ctrlr_set_reg_4(struct spdk_nvme_ctrlr *ctrlr, uint32_t offset, uint32_t value);
#define CC_OFFSET 0x14
#define CC_EN 1u

void
spdk_shim_ctrlr_disable(struct spdk_nvme_ctrlr *ctrlr)
{
	uint32_t configuration;

	if (nvme_transport_ctrlr_get_reg_4(ctrlr, CC_OFFSET, &configuration) == 0) {
		nvme_transport_ctrlr_set_reg_4(ctrlr, CC_OFFSET, configuration & ~CC_EN);
	}
}

bool
spdk_shim_ctrlr_is_gone(struct spdk_nvme_ctrlr *ctrlr)
{
	return spdk_nvme_ctrlr_get_regs_csts(ctrlr).raw == UINT32_MAX;
}

/* Of the driver, for itself: what it does when its own look at hot-plug events finds that a device is gone. */
extern void nvme_ctrlr_fail(struct spdk_nvme_ctrlr *ctrlr, bool hot_remove);

void
spdk_shim_ctrlr_removed(struct spdk_nvme_ctrlr *ctrlr)
{
	nvme_ctrlr_fail(ctrlr, true);
}

int
spdk_shim_qpair_fd(struct spdk_nvme_qpair *qpair)
{
#ifdef HAVE_INTERRUPTS
	return spdk_nvme_qpair_get_fd(qpair, NULL);
#else
	(void)qpair;
	return -ENOTSUP;
#endif
}

int
spdk_shim_poll_group_wait(struct spdk_nvme_poll_group *group, spdk_nvme_disconnected_qpair_cb disconnected)
{
#ifdef HAVE_INTERRUPTS
	return spdk_nvme_poll_group_wait(group, disconnected);
#else
	(void)group;
	(void)disconnected;
	return -ENOTSUP;
#endif
}

struct spdk_nvme_poll_group *
spdk_shim_poll_group_create(void *ctx)
{
#if SPDK_VERSION >= SPDK_VERSION_NUM(21, 4, 0)
	return spdk_nvme_poll_group_create(ctx, NULL);
#else
	return spdk_nvme_poll_group_create(ctx);
#endif
}

void
spdk_shim_register_timeout(struct spdk_nvme_ctrlr *ctrlr, uint64_t io_us, uint64_t admin_us,
			   spdk_nvme_timeout_cb callback, void *arg)
{
#if SPDK_VERSION >= SPDK_VERSION_NUM(21, 7, 0)
	spdk_nvme_ctrlr_register_timeout_callback(ctrlr, io_us, admin_us, callback, arg);
#else
	uint64_t both = io_us == 0 || (admin_us != 0 && admin_us < io_us) ? admin_us : io_us;

	spdk_nvme_ctrlr_register_timeout_callback(ctrlr, both, callback, arg);
#endif
}

bool
spdk_shim_qpair_is_connected(struct spdk_nvme_qpair *qpair)
{
#if SPDK_VERSION >= SPDK_VERSION_NUM(23, 9, 0)
	return spdk_nvme_qpair_is_connected(qpair);
#else
	return spdk_nvme_qpair_get_failure_reason(qpair) == SPDK_NVME_QPAIR_FAILURE_NONE;
#endif
}

int
spdk_shim_detach_begin(struct spdk_nvme_ctrlr *ctrlr, void **context)
{
#if SPDK_VERSION >= SPDK_VERSION_NUM(20, 10, 0)
	struct spdk_nvme_detach_ctx *detach = NULL;
	int code = spdk_nvme_detach_async(ctrlr, &detach);

	*context = detach;
	return code;
#else
	*context = NULL;
	return spdk_nvme_detach(ctrlr);
#endif
}

int
spdk_shim_detach_poll(void *context)
{
#if SPDK_VERSION >= SPDK_VERSION_NUM(20, 10, 0)
	return context != NULL ? spdk_nvme_detach_poll_async(context) : 0;
#else
	(void)context;
	return 0;
#endif
}

uint64_t
spdk_shim_vtophys(const void *address, uint64_t *size)
{
	return spdk_vtophys((void *)address, size);
}

void
spdk_shim_pci_for_each(void *ctx, void (*each)(void *ctx, struct spdk_pci_device *device))
{
#if SPDK_VERSION >= SPDK_VERSION_NUM(22, 1, 0)
	spdk_pci_for_each_device(ctx, each);
#else
	struct spdk_pci_device *device = spdk_pci_get_first_device();

	while (device != NULL) {
		/* `each` may detach it. */
		struct spdk_pci_device *next = spdk_pci_get_next_device(device);

		each(ctx, device);
		device = next;
	}
#endif
}

int
spdk_shim_pci_numa_node(struct spdk_pci_device *device)
{
#if SPDK_VERSION >= SPDK_VERSION_NUM(24, 9, 0)
	return spdk_pci_device_get_numa_id(device);
#else
	return spdk_pci_device_get_socket_id(device);
#endif
}

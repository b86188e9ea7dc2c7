//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Finds a live process by its pid in its own pid namespace, from any pid namespace. User space
 * runs the program with BPF_PROG_TEST_RUN. It walks the initial pid namespace's idr, which
 * has all processes: iter/task shows those of the caller's namespace only.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* The parts in use of the kernel's types. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* include/linux/xarray.h */
struct xarray {
	void *xa_head;
};

struct xa_node {
	unsigned char shift;
	void *slots[1];
};

struct idr {
	struct xarray idr_rt; /* struct radix_tree_root is a macro for it */
	unsigned int idr_base;
};

struct ns_common {
	unsigned int inum;
};

struct pid_namespace {
	struct idr idr;
	struct ns_common ns;
};

struct upid {
	int nr;
	struct pid_namespace *ns;
};

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct pid {
	unsigned int level;
	struct hlist_head tasks[2];
	struct upid numbers[1];
};

typedef struct {
	int counter;
} atomic_t;

struct signal_struct {
	atomic_t live;
};

struct timespec64 {
	__s64 tv_sec;
	long tv_nsec;
};

struct timens_offsets {
	struct timespec64 boottime;
};

struct time_namespace {
	struct timens_offsets offsets;
};

struct nsproxy {
	struct time_namespace *time_ns;
};

struct task_struct {
	struct nsproxy *nsproxy;
	struct pid *thread_pid;
	struct hlist_node pid_links[2];
	struct signal_struct *signal;
	__u64 start_boottime; /* nanoseconds */
};

#pragma clang attribute pop

#define PIDTYPE_TGID 1 /* enum pid_type, include/linux/pid_types.h */

/* A pid has at most 22 bits, and a node resolves at least 4. */
#define MAX_HEIGHT 6

/* The result of find: flags, and a pid in the initial pid namespace: that of the process found,
 * or the next one to check. */
#define FOUND (1U << 31)
#define UNREADABLE (1U << 30) /* the kernel's structures are not as declared here */
#define END (1U << 29)	      /* no process is left */

#define STEPS 64 /* of the walk in one run, for the verifier */

#define START_BITS 18
#define START_MASK ((1U << START_BITS) - 1)
#define NAMESPACES 1023
#define NSEC_PER_SEC 1000000000
#define NSEC_PER_TICK 10000000 /* NSEC_PER_SEC / USER_HZ, as in /proc/PID/stat */

#define INITIAL (1U << 31)

/* What the caller looks for. */
struct wanted {
	__u64 from;  /* first pid to check, in the initial pid namespace */
	__u64 pid;   /* in the process's own pid namespace; with INITIAL, that is the initial one */
	__u64 start; /* as in its own /proc/PID/stat, & START_MASK, 0 for any; above START_BITS
		      * the pid namespace, see in_namespace, 0 for any */
};

/* xa_is_node (include/linux/xarray.h) */
static __always_inline bool is_node(void *entry)
{
	return ((__u64)entry & 3) == 2 && (__u64)entry > 4096;
}

/* idr_get_next (lib/idr.c), but returns an empty range as one step: *next is the index after
 * the entry, or after the range. */
static __always_inline __u32 step(struct pid_namespace *ns, __u32 at, __u32 *next, struct pid **pid)
{
	void *entry = BPF_CORE_READ(ns, idr.idr_rt.xa_head);
	__u64 index = at;
	__u8 shift = 0;
	int i;

	*pid = NULL;
	if (!is_node(entry))
		return END;
	for (i = 0; i < MAX_HEIGHT && is_node(entry); i++) {
		struct xa_node *node = entry - 2;
		__u64 slots = bpf_core_field_size(node->slots) / sizeof(void *);
		void *from = (void *)node + bpf_core_field_offset(struct xa_node, slots);
		__u64 slot;

		shift = BPF_CORE_READ(node, shift) & 31;
		slot = index >> shift;
		if (slot >= slots)
			return END;
		if (bpf_probe_read_kernel(&entry, sizeof(entry), from + slot * sizeof(void *)))
			return UNREADABLE;
		index -= slot << shift;
	}
	if (is_node(entry))
		return UNREADABLE;
	*next = (at | ((1U << shift) - 1)) + 1;
	*pid = entry;
	return 0;
}

/* The thread group leader, which stays in the list after it has ended: pid_task
 * (kernel/pid.c). */
static __always_inline struct task_struct *leader_of(struct pid *pid)
{
	struct hlist_node *first = BPF_CORE_READ(pid, tasks[PIDTYPE_TGID].first);

	if (!first)
		return NULL;
	return (void *)first - bpf_core_field_offset(struct task_struct, pid_links) -
	       PIDTYPE_TGID * bpf_core_type_size(struct hlist_node);
}

/* What getpid(2) returns to the task, task_pid_vnr: the number in its deepest namespace. */
static __always_inline __u32 own_number(struct pid *pid, struct pid_namespace **ns)
{
	__u32 level = BPF_CORE_READ(pid, level);
	struct upid *upid = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
			    level * bpf_core_type_size(struct upid);
	__u32 nr = BPF_CORE_READ(upid, nr);

	*ns = BPF_CORE_READ(upid, ns);
	return level ? nr : nr | INITIAL;
}

/* NamespaceOf in process.go. */
static __always_inline bool in_namespace(struct pid_namespace *ns, __u32 wanted)
{
	return !wanted || BPF_CORE_READ(ns, ns.inum) % NAMESPACES + 1 == wanted;
}

/* The start time as struct wanted has it. */
static __always_inline __u32 ticks(__u64 nsec)
{
	__u32 start = nsec / NSEC_PER_TICK & START_MASK;

	return start ? start : 1;
}

/* Whether start is field 22 of /proc/PID/stat as the task itself reads it: do_task_stat
 * (fs/proc/array.c). The offset of its time namespace is added since Linux 5.11. */
static __always_inline bool started(struct task_struct *task, struct nsproxy *nsproxy, __u32 start)
{
	struct time_namespace *time_ns = NULL;
	__u64 nsec = BPF_CORE_READ(task, start_boottime);

	if (ticks(nsec) == start)
		return true;
	if (bpf_core_field_exists(nsproxy->time_ns))
		time_ns = BPF_CORE_READ(nsproxy, time_ns);
	if (!time_ns)
		return false;
	nsec += BPF_CORE_READ(time_ns, offsets.boottime.tv_sec) * NSEC_PER_SEC +
		BPF_CORE_READ(time_ns, offsets.boottime.tv_nsec);
	return ticks(nsec) == start;
}

static __always_inline bool matches(struct pid *pid, struct signal_struct *self, __u32 nr, __u32 start)
{
	struct signal_struct *signal;
	struct task_struct *task;
	struct pid_namespace *ns;
	struct nsproxy *nsproxy;
	__u32 own = own_number(pid, &ns);

	if (own != nr && own != (nr | INITIAL))
		return false;
	if (!in_namespace(ns, start >> START_BITS))
		return false;
	start &= START_MASK;
	task = leader_of(pid);
	if (!task)
		return false;
	signal = BPF_CORE_READ(task, signal);
	/* live counts the threads that have not begun to exit. */
	if (!signal || signal == self || BPF_CORE_READ(signal, live.counter) <= 0)
		return false;
	/* A leader that has ended while other threads live has no namespaces: let it match. */
	nsproxy = BPF_CORE_READ(task, nsproxy);
	return !start || !nsproxy || started(task, nsproxy, start);
}

/* Check one pid of the initial pid namespace and return the result of find. The verifier checks
 * a global function once instead of in each step of the walk; its arguments must be scalars. */
__noinline int visit(__u64 ns, __u64 self, __u32 at, __u32 nr, __u32 start)
{
	struct pid_namespace *initial = (void *)ns;
	__u32 base = BPF_CORE_READ(initial, idr.idr_base);
	struct pid *pid;
	__u32 next = 0, result;

	result = step(initial, at - base, &next, &pid);
	if (result)
		return result;
	if (pid && matches(pid, (void *)self, nr, start))
		return FOUND | at;
	return next + base;
}

/* Find a live process other than the caller's. */
SEC("raw_tp")
int find(struct wanted *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct pid_namespace *ns = BPF_CORE_READ(task, thread_pid, numbers[0].ns);
	struct signal_struct *self = BPF_CORE_READ(task, signal);
	__u32 nr = ctx->pid, start = ctx->start, at = ctx->from;
	int i;

	if (!ns)
		return UNREADABLE;
	for (i = 0; i < STEPS && !(at & (FOUND | UNREADABLE | END)); i++)
		at = visit((__u64)ns, (__u64)self, at, nr, start);
	return at;
}

char LICENSE[] SEC("license") = "GPL";

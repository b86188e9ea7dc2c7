//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Finds a live process by its pid in its own pid namespace, from any pid namespace. User space
 * runs the program with BPF_PROG_TEST_RUN. The program walks the idr of the initial pid
 * namespace, which has all processes; iter/task shows only those of the caller's namespace.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* The members that the program uses of the kernel's types. */
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
	struct xarray idr_rt; /* the kernel declares struct radix_tree_root, a macro for xarray */
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

/* The result of find: a flag, or none, and a pid in the initial pid namespace. With FOUND it is
 * the pid of the process, without a flag the next pid to check. */
#define FOUND (1U << 31)
#define UNREADABLE (1U << 30) /* the kernel's structures are not as declared here */
#define END (1U << 29)	      /* all pids are checked */

#define STEPS 64 /* pids or ranges checked in one run: a bound for the verifier */

#define START_BITS 18
#define START_MASK ((1U << START_BITS) - 1)
#define NAMESPACES 1023
#define NSEC_PER_SEC 1000000000
#define NSEC_PER_TICK 10000000 /* NSEC_PER_SEC / USER_HZ, as in /proc/PID/stat */

#define INITIAL (1U << 31)

/* The process that the caller looks for. */
struct wanted {
	__u64 from;  /* first pid to check, in the initial pid namespace */
	__u64 pid;   /* in the process's own pid namespace; INITIAL is set if that is the initial one */
	__u64 start; /* low START_BITS: start time in the process's own /proc/PID/stat, 0 for any;
		      * above: number of the pid namespace, see in_namespace, 0 for any */
};

/* xa_is_node (include/linux/xarray.h) */
static __always_inline bool is_node(void *entry)
{
	return ((__u64)entry & 3) == 2 && (__u64)entry > 4096;
}

/* Like idr_get_next (lib/idr.c), but stops after an empty range too. *pid is the entry at index
 * at, or NULL if a range without entries begins there. *next is the index after the entry or
 * range. Returns 0, END or UNREADABLE. */
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

/* Returns the thread group leader, as pid_task does (kernel/pid.c). A leader stays in the list
 * after it has ended. */
static __always_inline struct task_struct *leader_of(struct pid *pid)
{
	struct hlist_node *first = BPF_CORE_READ(pid, tasks[PIDTYPE_TGID].first);

	if (!first)
		return NULL;
	return (void *)first - bpf_core_field_offset(struct task_struct, pid_links) -
	       PIDTYPE_TGID * bpf_core_type_size(struct hlist_node);
}

/* Returns what getpid(2) returns to the process (task_pid_vnr): its number in its own pid
 * namespace, which *ns is set to. Sets INITIAL if that is the initial namespace. */
static __always_inline __u32 own_number(struct pid *pid, struct pid_namespace **ns)
{
	__u32 level = BPF_CORE_READ(pid, level);
	struct upid *upid = (void *)pid + bpf_core_field_offset(struct pid, numbers) +
			    level * bpf_core_type_size(struct upid);
	__u32 nr = BPF_CORE_READ(upid, nr);

	*ns = BPF_CORE_READ(upid, ns);
	return level ? nr : nr | INITIAL;
}

/* Reports whether wanted is the number of ns, as NamespaceOf in process.go computes it, or 0. */
static __always_inline bool in_namespace(struct pid_namespace *ns, __u32 wanted)
{
	return !wanted || BPF_CORE_READ(ns, ns.inum) % NAMESPACES + 1 == wanted;
}

/* Converts a start time to the form in struct wanted. */
static __always_inline __u32 ticks(__u64 nsec)
{
	__u32 start = nsec / NSEC_PER_TICK & START_MASK;

	return start ? start : 1;
}

/* Reports whether the task itself reads start in field 22 of its /proc/PID/stat: do_task_stat
 * (fs/proc/array.c). Since Linux 5.11 the kernel adds the offset of the task's time namespace. */
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
	/* live is the number of threads that have not begun to exit. */
	if (!signal || signal == self || BPF_CORE_READ(signal, live.counter) <= 0)
		return false;
	/* A leader that has ended has no namespaces, even if other threads live: its start time
	 * cannot be compared, so accept it. */
	nsproxy = BPF_CORE_READ(task, nsproxy);
	return !start || !nsproxy || started(task, nsproxy, start);
}

/* Checks one pid of the initial pid namespace and returns the result of find. It is a global
 * function so that the verifier checks it once, not in each step of the walk. The arguments of
 * a global function must be scalars. */
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

/* Finds a live process other than the caller's. */
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

//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Tells whether a process of the host lives, from any pid namespace. User space runs the
 * programs with BPF_PROG_TEST_RUN. The kfunc bpf_task_from_pid does the same lookup from
 * Linux 6.2 on; this walk of the initial pid namespace's idr works on all kernels.
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

struct pid_namespace {
	struct idr idr;
};

struct upid {
	struct pid_namespace *ns;
};

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct pid {
	struct hlist_head tasks[2];
	struct upid numbers[1];
};

typedef struct {
	int counter;
} atomic_t;

struct signal_struct {
	atomic_t live;
};

struct task_struct {
	struct pid *thread_pid;
	struct hlist_node pid_links[2];
	struct signal_struct *signal;
	__u64 start_boottime; /* nanoseconds */
};

#pragma clang attribute pop

#define PIDTYPE_TGID 1 /* enum pid_type, include/linux/pid_types.h */

/* A pid has at most 22 bits, and a node resolves at least 4. */
#define MAX_HEIGHT 6

/* The result of look: flags, and the low bits of the start time. */
#define FOUND (1U << 31)
#define LIVE (1U << 30)	      /* at least one thread has not begun to exit */
#define UNREADABLE (1U << 29) /* the kernel's structures are not as declared here */
#define START_MASK ((1U << 22) - 1)

#define NSEC_PER_TICK 10000000 /* NSEC_PER_SEC / USER_HZ, as in /proc/PID/stat */

/* The caller's pid in the initial pid namespace. */
SEC("raw_tp")
int own(void *ctx)
{
	return bpf_get_current_pid_tgid() >> 32;
}

/* xa_is_node (include/linux/xarray.h) */
static __always_inline bool is_node(void *entry)
{
	return ((__u64)entry & 3) == 2 && (__u64)entry > 4096;
}

/* idr_find (lib/idr.c) */
static __always_inline struct pid *find_pid(struct pid_namespace *ns, __u32 nr)
{
	__u64 index = nr - BPF_CORE_READ(ns, idr.idr_base);
	void *entry = BPF_CORE_READ(ns, idr.idr_rt.xa_head);
	int i;

	for (i = 0; i < MAX_HEIGHT && is_node(entry); i++) {
		struct xa_node *node = entry - 2;
		__u8 shift = BPF_CORE_READ(node, shift) & 63;
		__u64 slot = index >> shift;
		__u64 slots = bpf_core_field_size(node->slots) / sizeof(void *);
		void *from = (void *)node + bpf_core_field_offset(struct xa_node, slots);

		if (slot >= slots ||
		    bpf_probe_read_kernel(&entry, sizeof(entry), from + slot * sizeof(void *)))
			return NULL;
		index -= slot << shift;
	}
	return i == 0 || is_node(entry) ? NULL : entry;
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

/* Look for the process that has the pid ctx[0] in the initial pid namespace. */
SEC("raw_tp")
int look(__u64 *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct pid_namespace *ns = BPF_CORE_READ(task, thread_pid, numbers[0].ns);
	struct signal_struct *signal;
	__u32 result = FOUND;
	struct pid *pid;

	if (!ns)
		return UNREADABLE;
	pid = find_pid(ns, ctx[0]);
	if (!pid)
		return 0;
	task = leader_of(pid);
	if (!task)
		return 0;
	signal = BPF_CORE_READ(task, signal);
	if (!signal)
		return UNREADABLE;
	if (BPF_CORE_READ(signal, live.counter) > 0)
		result |= LIVE;
	return result | ((BPF_CORE_READ(task, start_boottime) / NSEC_PER_TICK) & START_MASK);
}

char LICENSE[] SEC("license") = "GPL";

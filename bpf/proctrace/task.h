/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_PROCTRACE_TASK_H
#define RBTOOL_PROCTRACE_TASK_H

#include "kernel.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/*
 * Types of the kernel, with only the fields that the programs read. Loading the programs replaces
 * the offsets of the fields by those of the running kernel (CO-RE).
 */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	struct kernfs_node *kn;
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct signal_struct {
	struct {
		int counter;
	} live;
	int group_exit_code;
	unsigned int flags;
};

struct task_struct {
	int pid;
	int tgid;
	int exit_code;
	__u64 start_boottime;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct css_set *cgroups;
	struct signal_struct *signal;
};

struct linux_binprm {
	const char *filename;
};

#pragma clang attribute pop

#define SIGNAL_GROUP_EXIT 0x4 /* include/linux/sched/signal.h */

/* The kernel's type of the tracepoint, if the tracepoint passes group_dead (6.16). */
typedef void (*btf_trace_sched_process_exit___group_dead)(void *, struct task_struct *, bool);

static __always_inline __u64 cgroup_of(struct task_struct *task)
{
	if (!bpf_core_field_exists(task->cgroups))
		return 0;
	return BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
}

#endif

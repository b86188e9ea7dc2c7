/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_PROCTRACE_RULES_H
#define RBTOOL_PROCTRACE_RULES_H

#include "kernel.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include "proctrace.h"
#include "ring.h"
#include "task.h"

/*
 * The rules about which events are written: their state, what they say about an event, and how
 * they change. Handlers read them on any CPU while a command (commands.h) changes them.
 */

/* Whether the kernel lets maps hold tasks, and programs find them (6.2, for programs that
 * user space runs some versions later). */
const volatile bool hold_tasks;

/* Who the rules are about. */
struct rule {
	enum command_subject subject;
	__u32 pad;
	__u64 id;
	char comm[EVENT_COMM_SIZE];
};

/*
 * What they say. A pid is reused: that of a rule means the process that had it when the
 * rule was made. It is known by its leader, which the rule holds, so that what belongs to
 * it is nobody else's meanwhile. Where the kernel gives none it is known by its start: who
 * has the pid after it is younger than the rule.
 */
struct verdict {
	enum command_type says; /* WATCH_COMMAND or IGNORE_COMMAND */
	__u32 pad;
	__u64 since; /* CLOCK_BOOTTIME, ns */
	struct task_struct __kptr *leader;
};

/* Preallocated: a command does not fail for lack of memory. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RULES_MAX);
	__type(key, struct rule);
	__type(value, struct verdict);
} rules SEC(".maps");

struct rule_counts {
	__u32 rules;
	__u32 watches;
	/* Of the last command, for its sender. */
	__u64 cookie;
	__u32 error;
	__u32 holds_tasks; /* as hold_tasks, for user space */
	__u32 held;	   /* rules that hold a task */
	__u32 pad;
};

/* Written by the drain alone, of which the kernel lets only one be under way. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rule_counts);
} ruled SEC(".maps");

/* What a rule says about the process of a task. */
static __always_inline __u32 rule_about_process(struct task_struct *task)
{
	struct rule rule = {.subject = PID_SUBJECT, .id = BPF_CORE_READ(task, tgid)};
	struct verdict *v = bpf_map_lookup_elem(&rules, &rule);
	struct task_struct *leader;

	if (!v)
		return 0;
	leader = hold_tasks ? v->leader : NULL;
	/* Threads of a process share their signal_struct, which a task keeps till the last reference
	 * to it is gone (kernel/fork.c, __put_task_struct). Not the leader itself: a thread that
	 * execs takes its place. */
	if (leader)
		return BPF_CORE_READ(leader, signal) == BPF_CORE_READ(task, signal) ? v->says : 0;
	return BPF_CORE_READ(task, group_leader, start_boottime) <= v->since ? v->says : 0;
}

static __always_inline __u32 rule_about_cgroup(struct task_struct *task)
{
	struct rule rule = {.subject = CGROUP_SUBJECT, .id = cgroup_of(task)};
	struct verdict *v = bpf_map_lookup_elem(&rules, &rule);

	return v ? v->says : 0;
}

static __always_inline __u32 rule_about_comm(void)
{
	struct rule rule = {.subject = COMM_SUBJECT};
	struct verdict *v;

	bpf_get_current_comm(rule.comm, sizeof(rule.comm)); /* as in the event */
	v = bpf_map_lookup_elem(&rules, &rule);
	return v ? v->says : 0;
}

/* Not inlined: the verifier of old kernels would walk it once for each caller. */
static __noinline bool ruled_out(struct rule_counts *n, struct task_struct *task)
{
	__u32 says[] = {
		rule_about_process(task),
		rule_about_process(BPF_CORE_READ(task, real_parent)),
		rule_about_cgroup(task),
		rule_about_comm(),
	};
	bool watched = false;

	for (int i = 0; i < 4; i++) {
		if (says[i] == IGNORE_COMMAND)
			return true;
		watched |= says[i] == WATCH_COMMAND;
	}
	return n->watches && !watched;
}

/* Whether the rules say that the event is not to be written; counts it then. */
static __always_inline bool ignored(enum event_type type, struct task_struct *task)
{
	__u32 key = 0;
	struct rule_counts *n = bpf_map_lookup_elem(&ruled, &key);
	struct event_counts *counts;

	if (!n || !n->rules || !ruled_out(n, task))
		return false;
	counts = counts_of(type);
	if (counts)
		counts->ignored++;
	return true;
}

/* The functions are there where hold_tasks says so. */
struct task_struct *bpf_task_from_pid(__s32 pid) __ksym __weak;
void bpf_task_release(struct task_struct *task) __ksym __weak;

/*
 * Before its element goes, or is replaced: the kernel releases what it holds only up to 7.1
 * (bpf_obj_cancel_fields), and who gets the memory next would hold it. Reports whether it did.
 */
static __always_inline bool let_go(struct verdict *v)
{
	struct task_struct *task;

	if (!hold_tasks)
		return false;
	task = bpf_kptr_xchg(&v->leader, NULL);
	if (!task)
		return false;
	bpf_task_release(task);
	return true;
}

/* Has the rule hold the leader of its process, if there is one. */
static __always_inline void hold(struct rule_counts *n, const struct rule *rule)
{
	struct verdict *v = bpf_map_lookup_elem(&rules, rule);
	struct task_struct *task = bpf_task_from_pid(rule->id);

	if (!task)
		return;
	if (v && (__u64)BPF_CORE_READ(task, tgid) == rule->id) { /* else it is another thread */
		task = bpf_kptr_xchg(&v->leader, task);
		n->held++;
	}
	if (task)
		bpf_task_release(task);
}

/* The counts change such that tasks which pass meanwhile see no watch without its rule. */
static __always_inline __u32 add_rule(struct rule_counts *n, const struct rule *rule, __u32 says)
{
	struct verdict verdict = {.says = says, .since = bpf_ktime_get_boot_ns()};
	struct verdict *old = bpf_map_lookup_elem(&rules, rule);
	bool known = old, watched = old && old->says == WATCH_COMMAND;

	if (old && let_go(old))
		n->held--;
	if (bpf_map_update_elem(&rules, rule, &verdict, BPF_ANY))
		return E2BIG;
	if (hold_tasks && rule->subject == PID_SUBJECT)
		hold(n, rule);
	if (!known)
		n->rules++;
	if (says == WATCH_COMMAND && !watched)
		n->watches++;
	else if (says != WATCH_COMMAND && watched)
		n->watches--;
	return 0;
}

static __always_inline __u32 forget_rule(struct rule_counts *n, const struct rule *rule)
{
	struct verdict *old = bpf_map_lookup_elem(&rules, rule);

	if (!old)
		return ENOENT;
	if (old->says == WATCH_COMMAND)
		n->watches--;
	if (let_go(old))
		n->held--;
	n->rules--;
	bpf_map_delete_elem(&rules, rule);
	return 0;
}

static long drop_rule(void *map, struct rule *rule, struct verdict *v, void *ctx)
{
	let_go(v);
	bpf_map_delete_elem(&rules, rule);
	return 0;
}

/* The counts go first, as those of add_rule. */
static __always_inline void forget_rules(struct rule_counts *n)
{
	n->watches = n->rules = n->held = 0;
	bpf_for_each_map_elem(&rules, drop_rule, NULL, 0);
}

#endif

/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_PROCTRACE_RULES_H
#define RBTOOL_PROCTRACE_RULES_H

/*
 * Looks up and changes the rules, which say which events are written. They are in the maps rules
 * and ruled of proctrace.bpf.c. Handlers on any CPU read them while a command (commands.h) changes
 * them.
 */

/* Returns what the rules say about the process of a task, 0 if nothing. */
static __always_inline __u32 rule_about_process(struct task_struct *task)
{
	struct rule rule = {.subject = PID_SUBJECT, .id = BPF_CORE_READ(task, tgid)};
	struct verdict *v = bpf_map_lookup_elem(&rules, &rule);
	struct task_struct *leader;

	if (!v)
		return 0;
	leader = hold_tasks ? v->leader : NULL;
	/* Compare signal_structs: all threads of a process share one, and a task keeps it until
	 * its last reference is dropped (kernel/fork.c, __put_task_struct). Leaders cannot be
	 * compared: a thread that execs becomes the leader. */
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

	bpf_get_current_comm(rule.comm, sizeof(rule.comm)); /* the same name as in the event */
	v = bpf_map_lookup_elem(&rules, &rule);
	return v ? v->says : 0;
}

/* Not inlined: the verifier of old kernels would otherwise walk it once for each caller. */
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

/* Reports whether the rules leave out the event, and counts it if so. */
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

/* The kernel has this function if hold_tasks is set. */
struct task_struct *bpf_task_from_pid(__s32 pid) __ksym __weak;
void bpf_task_release(struct task_struct *task) __ksym __weak;

/*
 * Releases the task that a rule holds, before its element is deleted or replaced. Reports whether
 * the rule held a task. From 7.1 on the kernel does not release it (bpf_obj_cancel_fields): the
 * next rule in the same memory would hold the task.
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

/* Makes the rule hold the leader of its process, if the process exists. */
static __always_inline void hold(struct rule_counts *n, const struct rule *rule)
{
	struct verdict *v = bpf_map_lookup_elem(&rules, rule);
	struct task_struct *task = bpf_task_from_pid(rule->id);

	if (!task)
		return;
	if (v && (__u64)BPF_CORE_READ(task, tgid) == rule->id) { /* otherwise the pid is not a leader's */
		task = bpf_kptr_xchg(&v->leader, task);
		n->held++;
	}
	if (task)
		bpf_task_release(task);
}

/* Adds a rule. A watch is counted after its rule is added: an event that sees the count sees the rule. */
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

/* Removes all rules. Resets the counts first, for the same reason as in add_rule. */
static __always_inline void forget_rules(struct rule_counts *n)
{
	n->watches = n->rules = n->held = 0;
	bpf_for_each_map_elem(&rules, drop_rule, NULL, 0);
}

#endif

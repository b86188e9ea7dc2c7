//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Keeps the table of living processes in an arena. The handlers of proctrace.bpf.c tail-call these
 * programs once for each event, even if rules leave the event out or the ring is full.
 */
#include "kernel.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "proctrace.h"
#include "arena_table.h"

ARENA_DEFINE();

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct signal_struct {
	struct {
		int counter;
	} live;
};

struct task_struct {
	int pid;
	int tgid;
	__u64 start_boottime;
	struct task_struct *real_parent;
	struct task_struct *group_leader;
	struct signal_struct *signal;
};

#pragma clang attribute pop

#define PROCESSES 0 /* number of the table's root in the arena */
#define KEY_WORDS 1
#define VALUE_WORDS (sizeof(struct process_entry) / 8)

/* The map counters of proctrace.bpf.c, with the same number of entries. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVENT_TYPES);
	__type(key, __u32);
	__type(value, struct event_counts);
} counters SEC(".maps");

/* Counts a change of the table that failed: no memory, or too much contention for one bucket. */
static __always_inline int checked(int err)
{
	struct event_counts *counts;
	__u32 none = 0;

	if (!err || err == -ENOENT)
		return 0;
	counts = bpf_map_lookup_elem(&counters, &none);
	if (counts)
		__sync_fetch_and_add(&counts->failed, 1); /* atomic: all copies of the handlers share the element */
	return 0;
}

union entry {
	struct process_entry entry;
	__u64 words[VALUE_WORDS];
};

/* Not inlined: its signature puts the type into the BTF of the loaded programs. */
static __noinline void describe(struct process_entry *e, struct task_struct *task)
{
	e->pid = BPF_CORE_READ(task, tgid);
	e->ppid = BPF_CORE_READ(task, real_parent, tgid);
	e->start_time = BPF_CORE_READ(task, group_leader, start_boottime);
	bpf_get_current_comm(e->comm, sizeof(e->comm)); /* a child has the name of its parent */
}

SEC("raw_tp")
int BPF_PROG(table_fork, struct task_struct *parent, struct task_struct *child)
{
	struct arena_table __arena *t = arena_table_open(PROCESSES, KEY_WORDS, VALUE_WORDS);
	union entry e = {};
	__u64 key;

	if (!t || BPF_CORE_READ(child, pid) != BPF_CORE_READ(child, tgid))
		return 0;
	describe(&e.entry, child);
	key = e.entry.pid;
	return checked(arena_table_put(t, &key, KEY_WORDS, e.words, VALUE_WORDS, ARENA_ANY));
}

static __always_inline void on_exec(__u64 __arena *value, void *ctx)
{
	union entry *e = ctx;

	e->entry.execs = 1;
	if (ARENA_READ(value[1]) == e->words[1]) /* equal start times: the entry is of this process */
		e->entry.execs += ARENA_READ(value[2]);
	for (__u32 i = 0; i < VALUE_WORDS; i++)
		ARENA_WRITE(value[i], e->words[i]);
}

SEC("raw_tp")
int BPF_PROG(table_exec, struct task_struct *task)
{
	struct arena_table __arena *t = arena_table_open(PROCESSES, KEY_WORDS, VALUE_WORDS);
	union entry e = {};
	__u64 key;

	if (!t)
		return 0;
	describe(&e.entry, task);
	key = e.entry.pid;
	return checked(arena_table_change(t, &key, KEY_WORDS, VALUE_WORDS, ARENA_ANY, on_exec, &e));
}

/* Threads decrement signal->live before this tracepoint: only the last threads find it 0. */
SEC("raw_tp")
int BPF_PROG(table_exit, struct task_struct *task)
{
	struct arena_table __arena *t = arena_table_open(PROCESSES, KEY_WORDS, VALUE_WORDS);
	__u64 key = BPF_CORE_READ(task, tgid);

	if (!t || BPF_CORE_READ(task, signal, live.counter))
		return 0;
	return checked(arena_table_delete(t, &key, KEY_WORDS, VALUE_WORDS));
}

char LICENSE[] SEC("license") = "GPL";

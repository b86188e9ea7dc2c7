//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Follows fork, exec and exit of every task into one ring, so that the order of
 * the records is the order of the events, on whatever CPUs they happened: the
 * fork tracepoint is called before the child is woken (kernel/fork.c,
 * kernel_clone), exec and exit by the task itself (fs/exec.c, exec_binprm;
 * kernel/exit.c, do_exit), and a record's place is fixed by its reservation.
 *
 * A tracepoint runs its programs with preemption off (up to 6.18 at least), or
 * the kernel keeps a program from being entered again on the CPU where it was
 * preempted, and counts a miss (7.2; kernel/trace/bpf_trace.c, __bpf_trace_run).
 * Either way no two runs of one program share a CPU: what is per CPU and belongs to one
 * program needs no atomics and no lock.
 */
#include "kernel.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "proctrace.h"

#define EEXIST 17
#define SIGNAL_GROUP_EXIT 0x4 /* include/linux/sched/signal.h */

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
	int nr_threads;
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

/* The tracepoint's type where it tells group_dead (6.16). */
typedef void (*btf_trace_sched_process_exit___group_dead)(void *, struct task_struct *, bool);

/* The ring. User space sets its size. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} proctrace SEC(".maps");

/* Indexed by enum event_type; each program has an element of its own. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EXIT_EVENT + 1);
	__type(key, __u32);
	__type(value, struct event_counts);
} counters SEC(".maps");

/* An exec_event while its length is not known; bpf_ringbuf_reserve takes constants. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct exec_event) + EXEC_FILENAME_MAX);
} scratch SEC(".maps");

struct process {
	__u32 tgid;
	__u32 pad;
	__u64 start_time;
};

/* Processes whose group_dead is given away, where the kernel does not tell it. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, struct process);
	__type(value, __u8);
} dead SEC(".maps");

static __always_inline void count(enum event_type type, bool ok)
{
	__u32 key = type;
	struct event_counts *counts = bpf_map_lookup_elem(&counters, &key);

	if (!counts)
		return; /* for the verifier */
	if (ok)
		counts->written++;
	else
		counts->failed++;
}

static __always_inline void fill(struct event *e, enum event_type type, struct task_struct *task)
{
	e->type = type;
	e->cpu = bpf_get_smp_processor_id();
	e->pid = BPF_CORE_READ(task, pid);
	e->tgid = BPF_CORE_READ(task, tgid);
	e->ppid = BPF_CORE_READ(task, real_parent, tgid);
	e->uid = bpf_get_current_uid_gid(); /* a child has its parent's */
	e->ktime = bpf_ktime_get_ns();
	e->start_time = BPF_CORE_READ(task, group_leader, start_boottime);
	/* Not bpf_get_current_cgroup_id: clone3 can put a child into another cgroup. */
	e->cgroup_id = 0;
	if (bpf_core_field_exists(task->cgroups))
		e->cgroup_id = BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
	bpf_get_current_comm(e->comm, sizeof(e->comm)); /* likewise its parent's */
}

/*
 * The three fill functions are not inlined: as functions with a signature they
 * carry the record types into the BTF of the loaded programs, where a reader of
 * the pinned ring finds them.
 */

static __noinline void fill_fork(struct fork_event *e, struct task_struct *child)
{
	fill((struct event *)e, FORK_EVENT, child);
}

SEC("raw_tp/sched_process_fork")
int BPF_PROG(proctrace_fork, struct task_struct *parent, struct task_struct *child)
{
	struct fork_event *e = bpf_ringbuf_reserve(&proctrace, sizeof(*e), 0);

	count(FORK_EVENT, e);
	if (!e)
		return 0;
	fill_fork(e, child);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

/* Returns the bytes of the record. */
static __noinline __u32 fill_exec(struct exec_event *e, struct task_struct *task, int old_pid,
				  struct linux_binprm *bprm)
{
	long n;

	fill((struct event *)e, EXEC_EVENT, task);
	e->old_pid = old_pid;
	n = bpf_probe_read_kernel_str(e->filename, EXEC_FILENAME_MAX, BPF_CORE_READ(bprm, filename));
	if (n < 1 || n > EXEC_FILENAME_MAX) { /* it cannot be read: the empty name */
		e->filename[0] = 0;
		n = 1;
	}
	e->filename_size = n;
	return sizeof(*e) + n;
}

SEC("raw_tp/sched_process_exec")
int BPF_PROG(proctrace_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	__u32 key = 0;
	struct exec_event *e = bpf_map_lookup_elem(&scratch, &key);

	if (!e)
		return 0; /* for the verifier */
	count(EXEC_EVENT, !bpf_ringbuf_output(&proctrace, e, fill_exec(e, task, old_pid, bprm), 0));
	return 0;
}

/*
 * Whether the process ends with this thread, where the tracepoint does not
 * tell. Threads decrement signal->live some way before the tracepoint, so
 * several can find it 0: the first of them to come here is taken.
 */
static __always_inline bool find_group_dead(const struct event *e, struct task_struct *task)
{
	struct process key = {.tgid = e->tgid, .start_time = e->start_time};
	__u8 value = 0;

	if (BPF_CORE_READ(task, signal, live.counter))
		return false;
	if (BPF_CORE_READ(task, signal, nr_threads) == 1)
		return true; /* the others are reaped */
	return bpf_map_update_elem(&dead, &key, &value, BPF_NOEXIST) != -EEXIST;
}

/* A process's status, as in kernel/exit.c, wait_task_zombie. */
static __always_inline int group_status(struct task_struct *task)
{
	if (BPF_CORE_READ(task, signal, flags) & SIGNAL_GROUP_EXIT)
		return BPF_CORE_READ(task, signal, group_exit_code);
	return BPF_CORE_READ(task, group_leader, exit_code);
}

static __noinline void fill_exit(struct exit_event *e, __u64 *args)
{
	struct task_struct *task = (struct task_struct *)args[0];
	int status;

	fill((struct event *)e, EXIT_EVENT, task);
	/* Attaching fails when the verifier saw a load of an argument that is not there. */
	if (bpf_core_type_exists(btf_trace_sched_process_exit___group_dead))
		e->group_dead = args[1];
	else
		e->group_dead = find_group_dead((struct event *)e, task);
	status = e->group_dead ? group_status(task) : BPF_CORE_READ(task, exit_code);
	e->exit_code = (status >> 8) & 0xff;
	e->signal = status & 0x7f;
	e->core_dumped = status & 0x80;
}

SEC("raw_tp/sched_process_exit")
int proctrace_exit(__u64 *args)
{
	struct exit_event *e = bpf_ringbuf_reserve(&proctrace, sizeof(*e), 0);

	count(EXIT_EVENT, e);
	if (!e)
		return 0;
	fill_exit(e, args);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

/* bpf_probe_read_kernel and others are for GPL-compatible programs only. */
char LICENSE[] SEC("license") = "GPL";

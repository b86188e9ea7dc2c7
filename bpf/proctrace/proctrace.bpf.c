//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Writes a record for every fork, exec and exit into one ring. The order of the records is the
 * order of the events on all CPUs: the kernel calls the fork tracepoint before it wakes the child
 * (kernel/fork.c, kernel_clone), the task itself calls those of exec and exit (fs/exec.c,
 * exec_binprm; kernel/exit.c, do_exit), and a record's place is fixed when it is reserved.
 *
 * Some kernels run tracepoint programs with preemption enabled (7.2, include/linux/tracepoint.h,
 * __DECLARE_TRACE). While a program is preempted, the kernel does not run the same program on that
 * CPU for another task: that task's event is missed (kernel/trace/bpf_trace.c, __bpf_trace_run).
 * For these kernels user space loads several copies of each program and attaches them in order; the
 * kernel calls them in that order. The first copy that runs writes the record and marks the event
 * for the other copies. An event is lost only if tasks are preempted in all copies on one CPU. Lost
 * events are counted: the misses of the first copy minus the events that another copy wrote.
 *
 * No two runs of one copy share a CPU, so per-CPU data of one copy needs neither atomics
 * nor a lock.
 *
 * The attached programs only make a tail call to the handler of the event. User space can replace a
 * handler at any time: an event goes to the old handler or to the new one.
 */
#include "kernel.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "proctrace.h"
#include "state.h"
#include "task.h"

/* Set by user space before loading: constants for the verifier. */
const volatile __u32 copy; /* index of this copy of the programs */
const volatile __u32 copies = 1;
const volatile bool with_table;	 /* programs of table.bpf.c run after the handlers */
const volatile bool with_stacks; /* events have stacks */
/* Maps can hold references to tasks, and programs can look up tasks (6.2; for programs that user
 * space runs, some versions later). */
const volatile bool hold_tasks;

/* User space sets the size. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} events SEC(".maps");

/* The counts of events, indexed by copy * EVENT_TYPES + type: each program has its own element. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, EVENT_TYPES); /* user space multiplies it by the number of copies */
	__type(key, __u32);
	__type(value, struct event_counts);
} counters SEC(".maps");

/* The handlers, indexed as counters. The kernel empties the map when its last descriptor and
 * pin are gone (kernel/bpf/arraymap.c, prog_array_map_clear). */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, EVENT_TYPES); /* times copies + 1, by user space: the last for table.bpf.c */
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} handlers SEC(".maps");

/* An exec_event while its length is not known, by copy: bpf_ringbuf_reserve takes only
 * constants. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1); /* user space multiplies it by the number of copies */
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct exec_event) + EXEC_FILENAME_MAX);
} scratch SEC(".maps");

/* The few events that one copy has written and the last copy has not yet seen. LRU: a mark stays
 * if the last copy misses the event. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct mark);
	__type(value, __u8);
} marks SEC(".maps");

/* Processes whose exit event with group_dead is written, for kernels that do not pass it. LRU:
 * an entry matters only while the last threads of the process exit. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct process);
	__type(value, __u8);
} dead SEC(".maps");

/* Kernel stacks: return addresses. */
struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 1 << 12);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, STACK_FRAMES * sizeof(__u64));
} kernel_stacks SEC(".maps");

/* Build ids of files and offsets in them (struct bpf_stack_build_id). They are the same for
 * all processes that run a file, and outlive them. */
struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(map_flags, BPF_F_STACK_BUILD_ID);
	__uint(max_entries, 1 << 12);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, STACK_FRAMES * 32);
} user_stacks SEC(".maps");

/* The rules. Preallocated, so that a command does not fail for lack of memory. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RULES_MAX);
	__type(key, struct rule);
	__type(value, struct verdict);
} rules SEC(".maps");

/* Only the callback of bpf_user_ringbuf_drain writes it. The kernel permits one drain at a time. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rule_counts);
} ruled SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 1 << 16);
} commands SEC(".maps");

/* Has the timer, which runs while this map has a descriptor or a pin. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct listener);
} listener SEC(".maps");

#include "count.h"
#include "rules.h"
#include "commands.h"

/* Reports whether this copy must write the event of task. */
static __always_inline bool claim(enum event_type type, struct task_struct *task)
{
	struct mark mark = {.type = type};
	__u8 value = 0;

	if (copies == 1)
		return true;
	mark.pid = BPF_CORE_READ(task, pid);
	mark.start_time = BPF_CORE_READ(task, start_boottime);
	if (copy == copies - 1)
		return bpf_map_delete_elem(&marks, &mark); /* fails if no other copy has written the event */
	if (copy > 0)
		return !bpf_map_update_elem(&marks, &mark, &value, BPF_NOEXIST);
	bpf_map_update_elem(&marks, &mark, &value, BPF_ANY);
	return true;
}

/* Tail-calls the handler of an event. Returns only if there is no handler. */
static __always_inline int handle(void *ctx, enum event_type type)
{
	struct event_counts *counts;

	bpf_tail_call(ctx, &handlers, copy * EVENT_TYPES + type);
	counts = counts_of(type);
	if (counts)
		counts->unhandled++;
	return 0;
}

/* Tail-calls the program of table.bpf.c for this event, if there is a process table. */
static __always_inline int follow(void *ctx, enum event_type type)
{
	if (with_table)
		bpf_tail_call(ctx, &handlers, copies * EVENT_TYPES + type);
	return 0;
}

SEC("raw_tp/sched_process_fork")
int proctrace_fork(void *ctx) { return handle(ctx, FORK_EVENT); }

SEC("raw_tp/sched_process_exec")
int proctrace_exec(void *ctx) { return handle(ctx, EXEC_EVENT); }

SEC("raw_tp/sched_process_exit")
int proctrace_exit(void *ctx) { return handle(ctx, EXIT_EVENT); }

struct stacks {
	STACK_FIELDS;
};

/* If another stack already has the slot, it stays, since events refer to it: the new stack is lost. */
static __always_inline struct stacks take_stacks(void *ctx, enum event_type type)
{
	struct stacks s = {NO_STACK, NO_STACK};
	struct event_counts *counts;

	if (!with_stacks)
		return s;
	s.kernel_stack = bpf_get_stackid(ctx, &kernel_stacks, 0);
	s.user_stack = bpf_get_stackid(ctx, &user_stacks, BPF_F_USER_STACK);
	counts = counts_of(type);
	if (counts)
		counts->stacks_lost += (s.kernel_stack == -EEXIST) + (s.user_stack == -EEXIST);
	return s;
}

static __always_inline void fill(struct event *e, enum event_type type, struct task_struct *task)
{
	e->type = type;
	e->cpu = bpf_get_smp_processor_id();
	e->pid = BPF_CORE_READ(task, pid);
	e->tgid = BPF_CORE_READ(task, tgid);
	e->ppid = BPF_CORE_READ(task, real_parent, tgid);
	e->uid = bpf_get_current_uid_gid(); /* a child has the uid of its parent */
	e->ktime = bpf_ktime_get_ns();
	e->start_time = BPF_CORE_READ(task, group_leader, start_boottime);
	/* bpf_get_current_cgroup_id would be wrong: clone3 can put a child into another cgroup. */
	e->cgroup_id = cgroup_of(task);
	bpf_get_current_comm(e->comm, sizeof(e->comm)); /* a child has the name of its parent */
}

/*
 * The fill functions are not inlined: their signatures put the record types into the BTF of
 * the loaded programs, where a reader of the pinned ring finds them.
 */

static __noinline void fill_fork(struct fork_event *e, struct task_struct *child)
{
	fill((struct event *)e, FORK_EVENT, child);
}

SEC("raw_tp")
int BPF_PROG(handle_fork, struct task_struct *parent, struct task_struct *child)
{
	struct fork_event *e;

	if (!claim(FORK_EVENT, child))
		return 0;
	if (ignored(FORK_EVENT, child))
		return follow(ctx, FORK_EVENT);
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	count(FORK_EVENT, e);
	if (e) {
		fill_fork(e, child);
		bpf_ringbuf_submit(e, 0);
	}
	return follow(ctx, FORK_EVENT);
}

/* Returns the size of the record in bytes. */
static __noinline __u32 fill_exec(struct exec_event *e, struct task_struct *task, int old_pid,
				  struct linux_binprm *bprm)
{
	long n;

	fill((struct event *)e, EXEC_EVENT, task);
	e->old_pid = old_pid;
	n = bpf_probe_read_kernel_str(e->filename, EXEC_FILENAME_MAX, BPF_CORE_READ(bprm, filename));
	if (n < 1 || n > EXEC_FILENAME_MAX) { /* the name cannot be read: record an empty name */
		e->filename[0] = 0;
		n = 1;
	}
	e->filename_size = n;
	return sizeof(*e) + n;
}

SEC("raw_tp")
int BPF_PROG(handle_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	__u32 key = copy;
	struct exec_event *e = bpf_map_lookup_elem(&scratch, &key);
	struct stacks stacks;
	__u32 size;

	if (!e)
		return 0; /* for the verifier */
	if (!claim(EXEC_EVENT, task))
		return 0;
	if (ignored(EXEC_EVENT, task))
		return follow(ctx, EXEC_EVENT);
	size = fill_exec(e, task, old_pid, bprm);
	stacks = take_stacks(ctx, EXEC_EVENT);
	e->kernel_stack = stacks.kernel_stack;
	e->user_stack = stacks.user_stack;
	count(EXEC_EVENT, !bpf_ringbuf_output(&events, e, size, 0));
	return follow(ctx, EXEC_EVENT);
}

/*
 * Reports whether the process ends with this thread, for kernels whose tracepoint does not pass
 * that. Threads decrement signal->live before the tracepoint, so several threads can find it 0: the
 * first of these counts as the last thread.
 */
static __always_inline bool find_group_dead(const struct event *e, struct task_struct *task)
{
	struct process key = {.tgid = e->tgid, .start_time = e->start_time};
	__u8 value = 0;

	if (BPF_CORE_READ(task, signal, live.counter))
		return false;
	/* Cast to int: before 6.4 the kernel's function returned an int, and left the upper
	 * half of the register undefined. */
	return (int)bpf_map_update_elem(&dead, &key, &value, BPF_NOEXIST) != -EEXIST;
}

/* Returns the exit status of a process, as kernel/exit.c, wait_task_zombie does. */
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
	/* Load group_dead only if the tracepoint passes it: otherwise attaching would fail. */
	if (bpf_core_type_exists(btf_trace_sched_process_exit___group_dead))
		e->group_dead = args[1];
	else
		e->group_dead = find_group_dead((struct event *)e, task);
	status = e->group_dead ? group_status(task) : BPF_CORE_READ(task, exit_code);
	e->exit_code = (status >> 8) & 0xff;
	e->signal = status & 0x7f;
	e->core_dumped = status & 0x80;
}

SEC("raw_tp")
int handle_exit(__u64 *args)
{
	struct task_struct *task = (struct task_struct *)args[0];
	struct stacks stacks;
	struct exit_event *e;

	if (!claim(EXIT_EVENT, task))
		return 0;
	if (ignored(EXIT_EVENT, task))
		return follow(args, EXIT_EVENT);
	e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
	count(EXIT_EVENT, e);
	if (e) {
		fill_exit(e, args);
		stacks = take_stacks(args, EXIT_EVENT);
		e->kernel_stack = stacks.kernel_stack;
		e->user_stack = stacks.user_stack;
		bpf_ringbuf_submit(e, 0);
	}
	return follow(args, EXIT_EVENT);
}

/*
 * The programs below need Linux 6.1. One copy of them is loaded. User space runs proctrace_obey
 * after it has written a command; a timer polls for commands of other writers.
 */

#define COMMANDS_EVERY 20000000 /* ns */

/* Returns the result of bpf_user_ringbuf_drain. */
SEC("syscall")
int proctrace_obey(void *ctx)
{
	return bpf_user_ringbuf_drain(&commands, on_command, NULL, 0);
}

static int on_tick(void *map, __u32 *key, struct listener *l)
{
	bpf_user_ringbuf_drain(&commands, on_command, NULL, 0);
	bpf_timer_start(&l->timer, COMMANDS_EVERY, 0);
	return 0;
}

SEC("syscall")
int proctrace_hear(void *ctx)
{
	__u32 key = 0;
	struct listener *l = bpf_map_lookup_elem(&listener, &key);
	long err;

	if (!l)
		return -ENOENT; /* for the verifier */
	err = bpf_timer_init(&l->timer, &listener, CLOCK_MONOTONIC);
	if (!err)
		err = bpf_timer_set_callback(&l->timer, on_tick);
	if (!err)
		err = bpf_timer_start(&l->timer, COMMANDS_EVERY, 0);
	return err;
}

/* bpf_probe_read_kernel and others require a GPL-compatible license. */
char LICENSE[] SEC("license") = "GPL";

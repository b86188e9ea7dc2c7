//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Follows fork, exec and exit of every task into one ring, so that the order of
 * the records is the order of the events, on whatever CPUs they happened: the
 * fork tracepoint is called before the child is woken (kernel/fork.c,
 * kernel_clone), exec and exit by the task itself (fs/exec.c, exec_binprm;
 * kernel/exit.c, do_exit), and a record's place is fixed by its reservation.
 *
 * Where tracepoints run their programs with preemption on (7.2,
 * include/linux/tracepoint.h, __DECLARE_TRACE), the kernel does not run a program
 * again on the CPU where a run of it is preempted: another task's event is
 * missed (kernel/trace/bpf_trace.c, __bpf_trace_run). There user space loads
 * several copies of each program and attaches them in their order, in which the
 * kernel calls them. The first that is run writes the record, and marks the
 * event for the next ones. An event is lost only when tasks are preempted in
 * all copies on one CPU, and is counted: the misses of the first copy that no
 * other made up for.
 *
 * No two runs of one copy share a CPU, so what is per CPU and belongs to one
 * copy needs neither atomics nor a lock.
 *
 * What is attached only makes a tail call to the handler of the event, which user space can
 * replace at any moment: an event goes to the old one or to the new one.
 */
#include "kernel.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "proctrace.h"
#include "commands.h"
#include "ring.h"
#include "rules.h"
#include "task.h"

/* The handlers, indexed as the counters. It is emptied when no descriptor and no pin of it is left
 * (kernel/bpf/arraymap.c, prog_array_map_clear). */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, EVENT_TYPES); /* times copies, and once more for what follows, by user space */
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} handlers SEC(".maps");

/* An exec_event while its length is not known, by copy: bpf_ringbuf_reserve takes
 * constants only. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1); /* times copies, by user space */
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct exec_event) + EXEC_FILENAME_MAX);
} scratch SEC(".maps");

struct mark {
	enum event_type type;
	__u32 pid;
	__u64 start_time; /* of the task: pids are reused */
};

/* Events that one copy has written and the last one has not seen: few. LRU,
 * because a mark stays when the last copy is missed. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct mark);
	__type(value, __u8);
} marks SEC(".maps");

struct process {
	__u32 tgid;
	__u32 pad;
	__u64 start_time;
};

/* Processes whose group_dead is given away, where the kernel does not tell it. LRU: it
 * matters only while a process's last threads are on their way to the tracepoint. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct process);
	__type(value, __u8);
} dead SEC(".maps");

/* Whether the event of task is for this copy to write. */
static __always_inline bool claim(enum event_type type, struct task_struct *task)
{
	struct mark mark = {.type = type};
	__u8 value = 0;

	if (copies == 1)
		return true;
	mark.pid = BPF_CORE_READ(task, pid);
	mark.start_time = BPF_CORE_READ(task, start_boottime);
	if (copy == copies - 1)
		return bpf_map_delete_elem(&marks, &mark); /* there was none */
	if (copy > 0)
		return !bpf_map_update_elem(&marks, &mark, &value, BPF_NOEXIST);
	bpf_map_update_elem(&marks, &mark, &value, BPF_ANY);
	return true;
}

/* Goes on in the handler. */
static __always_inline int handle(void *ctx, enum event_type type)
{
	struct event_counts *counts;

	bpf_tail_call(ctx, &handlers, copy * EVENT_TYPES + type);
	counts = counts_of(type);
	if (counts)
		counts->unhandled++;
	return 0;
}

/* Whether something follows the handlers: table.bpf.c. */
const volatile bool with_table;

/* Goes on with it. */
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

/* Whether events have stacks. */
const volatile bool with_stacks;

/* Return addresses. */
struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 1 << 12);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, STACK_FRAMES * sizeof(__u64));
} kernel_stacks SEC(".maps");

/* Files by their build ids, and offsets in them (struct bpf_stack_build_id): the same
 * for all processes that run a file, and when they have ended. */
struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(map_flags, BPF_F_STACK_BUILD_ID);
	__uint(max_entries, 1 << 12);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, STACK_FRAMES * 32);
} user_stacks SEC(".maps");

struct stacks {
	STACK_FIELDS;
};

/* In a place that is taken the older stack stays: events refer to it. */
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
	e->uid = bpf_get_current_uid_gid(); /* a child has its parent's */
	e->ktime = bpf_ktime_get_ns();
	e->start_time = BPF_CORE_READ(task, group_leader, start_boottime);
	/* Not bpf_get_current_cgroup_id: clone3 can put a child into another cgroup. */
	e->cgroup_id = cgroup_of(task);
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

SEC("raw_tp")
int BPF_PROG(handle_fork, struct task_struct *parent, struct task_struct *child)
{
	struct fork_event *e;

	if (!claim(FORK_EVENT, child))
		return 0;
	if (ignored(FORK_EVENT, child))
		return follow(ctx, FORK_EVENT);
	e = bpf_ringbuf_reserve(&proctrace, sizeof(*e), 0);
	count(FORK_EVENT, e);
	if (e) {
		fill_fork(e, child);
		bpf_ringbuf_submit(e, 0);
	}
	return follow(ctx, FORK_EVENT);
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
	count(EXEC_EVENT, !bpf_ringbuf_output(&proctrace, e, size, 0));
	return follow(ctx, EXEC_EVENT);
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
	/* An int: before 6.4 that is what the function behind it returned, and the upper
	 * half of the register was anything. */
	return (int)bpf_map_update_elem(&dead, &key, &value, BPF_NOEXIST) != -EEXIST;
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
	e = bpf_ringbuf_reserve(&proctrace, sizeof(*e), 0);
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
 * When commands are taken. All from here on is Linux 6.1, and one copy of it is
 * loaded. User space runs proctrace_obey when it has written one; those of other
 * writers are found by a timer.
 */

#define COMMANDS_EVERY 20000000 /* ns */

struct listener {
	struct bpf_timer timer;
};

/* The timer runs while user space holds this map, or a pin does. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct listener);
} listener SEC(".maps");

/* Returns what bpf_user_ringbuf_drain does. */
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

/* bpf_probe_read_kernel and others are for GPL-compatible programs only. */
char LICENSE[] SEC("license") = "GPL";

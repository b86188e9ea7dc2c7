/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_PROCTRACE_H
#define RBTOOL_PROCTRACE_H

/*
 * The records that proctrace.bpf.c writes and the commands that it takes. A reader in C
 * includes <linux/types.h> and <stdbool.h> first. The Go mirrors are generated from this file.
 *
 * Ids are those of the initial pid and user namespaces. As in the kernel, pid is a thread and
 * tgid a process; the thread with pid == tgid is the leader of its process. Pids are reused:
 * (tgid, start_time) identifies a process.
 */

/* The struct of a record has the name of its enumerator in lower case. */
enum event_type {
	FORK_EVENT = 1,
	EXEC_EVENT = 2,
	EXIT_EVENT = 3,
	ACK_EVENT = 4,
};

#define EVENT_TYPES (ACK_EVENT + 1) /* no event has type 0 */

#define EVENT_COMM_SIZE 16 /* TASK_COMM_LEN, include/linux/sched.h */

/* The first fields of every record: the task that was forked, called exec or exited. */
#define EVENT_FIELDS                                                                   \
	enum event_type type;                                                          \
	__u32 cpu;	  /* that wrote the record */                                  \
	__u32 pid;                                                                     \
	__u32 tgid;                                                                    \
	__u32 ppid;	  /* tgid of the parent, the reaper once the parent is gone */ \
	__u32 uid;	  /* the real one */                                           \
	__u64 ktime;	  /* of the event; CLOCK_MONOTONIC, ns */                      \
	__u64 start_time; /* of the process; CLOCK_BOOTTIME, ns */                     \
	__u64 cgroup_id;  /* in the cgroup v2 hierarchy: its directory's inode */      \
	char comm[EVENT_COMM_SIZE]

struct event {
	EVENT_FIELDS;
};

/* A process was created (pid == tgid), or a thread of one (pid != tgid). */
struct fork_event {
	EVENT_FIELDS;
};

/*
 * Ids of stacks in the maps kernel_stacks and user_stacks of the tracer, NO_STACK, or a negative
 * errno: EEXIST if another stack has the slot; EFAULT if there is no such stack, because the
 * process has released its memory or the thread is the kernel's.
 */
#define NO_STACK -1 /* the tracer does not record this stack */
#define STACK_FIELDS        \
	__s32 kernel_stack; \
	__s32 user_stack

#define STACK_FRAMES 64 /* maximum number of frames; the innermost are kept */

/* Longer than any name: the longest is "/dev/fd/<int>/<path of PATH_MAX>" (fs/exec.c, alloc_bprm). */
#define EXEC_FILENAME_MAX (4096 + 32)

/* A process runs another file. Its other threads have ended. */
struct exec_event {
	EVENT_FIELDS;
	__u32 old_pid;	      /* pid of the calling thread before, which has pid from now on */
	__u32 filename_size;  /* bytes, with the NUL; EXEC_FILENAME_MAX if it was truncated */
	STACK_FIELDS;
	char filename[];      /* as the caller passed it; for a script, the script */
};

/*
 * A thread ended. Exactly one thread of a process, the last one, has group_dead: its exit_code,
 * signal and core_dumped are those of the process, as from wait4. The leader ends without
 * group_dead if other threads live on, or if another thread execs and takes over its pid.
 */
struct exit_event {
	EVENT_FIELDS;
	__u32 exit_code; /* 0..255, 0 if killed */
	__u16 signal;	 /* signal that killed it, or 0 */
	bool core_dumped;
	bool group_dead;
	STACK_FIELDS;
};

/* A living process in the table of the tracer's arena. The key is the pid, in 4 bytes. */
struct process_entry {
	__u32 pid;
	__u32 ppid;	  /* tgid of the parent when the process was forked */
	__u64 start_time; /* CLOCK_BOOTTIME, ns; in steps of 10 ms if it is older than the tracer */
	__u64 execs;	  /* number of execs since the tracer started */
	char comm[EVENT_COMM_SIZE];
};

/*
 * Numbers of events of one type, by program and CPU. For type 0, failed counts changes of processes that
 * are missing in the table of processes.
 */
struct event_counts {
	__u64 written;
	__u64 failed;  /* events that were lost because the ring had no room */
	__u64 ignored; /* events that the rules left out */
	__u64 unhandled; /* events without a handler */
	__u64 stacks_lost; /* stacks that were lost because another stack had the slot */
};

/*
 * Commands to the tracer, as samples of its user ring. A rule is about a process, a name or a
 * cgroup, and replaces an earlier rule about the same subject. Events of ignored subjects are
 * not written. If any subject is watched, only events of watched subjects are.
 */
enum command_type {
	WATCH_COMMAND = 1,
	IGNORE_COMMAND = 2,
	FORGET_COMMAND = 3, /* removes the rule about the subject */
	RESET_COMMAND = 4,  /* removes all rules */
};

enum command_subject {
	PID_SUBJECT = 1,    /* id is a tgid: the rule is about its process now, and that process's children */
	COMM_SUBJECT = 2,   /* comm has the form of the event's comm */
	CGROUP_SUBJECT = 3, /* id is a cgroup_id as in the event */
};

struct command {
	enum command_type type;
	enum command_subject subject;
	__u64 cookie; /* returned in ack_event */
	__u64 id;
	char comm[EVENT_COMM_SIZE]; /* padded with zeros */
};

/* A command was obeyed or refused. An obeyed command applies to all records after this one. */
struct ack_event {
	enum event_type type;
	__u32 error; /* errno: 0, EINVAL, E2BIG (too many rules), ENOENT (no such rule) */
	__u64 ktime; /* CLOCK_MONOTONIC, ns */
	enum command_type command;
	enum command_subject subject;
	__u64 cookie;
	__u64 id;
	char comm[EVENT_COMM_SIZE];
	__u32 rules;   /* number of rules after the command */
	__u32 watches; /* number of these rules that watch */
};

#define RULES_MAX 1024

#endif

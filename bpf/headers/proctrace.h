/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_PROCTRACE_H
#define RBTOOL_PROCTRACE_H

/*
 * The records of the ring that proctrace.bpf.c writes, for a reader in C
 * (include <linux/types.h> and <stdbool.h> first) as for the program itself.
 * The Go mirrors are generated from here.
 *
 * Ids are those of the initial pid and user namespaces. In the kernel's words
 * pid is a thread, tgid a process; a thread with pid == tgid is the leader of
 * its process. Pids are reused: (tgid, start_time) identifies a process.
 */

/* An enumerator in lower case is the name of the record's struct. */
enum event_type {
	FORK_EVENT = 1,
	EXEC_EVENT = 2,
	EXIT_EVENT = 3,
	ACK_EVENT = 4,
};

#define EVENT_TYPES (ACK_EVENT + 1) /* 0 is none */

#define EVENT_COMM_SIZE 16 /* TASK_COMM_LEN, include/linux/sched.h */

/* What every record begins with, about the task that was born, ran or died. */
#define EVENT_FIELDS                                                                   \
	enum event_type type;                                                          \
	__u32 cpu;	  /* where the record was written */                           \
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

/* A process was made (pid == tgid), or a thread of one (pid != tgid). */
struct fork_event {
	EVENT_FIELDS;
};

/*
 * The ids of stacks, in the maps kernel_stacks and user_stacks of the tracer, or NO_STACK, or
 * a negative errno: EEXIST, another stack was in its place; EFAULT, there was none, as that of
 * a user when the memory of the process is gone, or of a kernel's thread.
 */
#define NO_STACK -1 /* not asked for */
#define STACK_FIELDS        \
	__s32 kernel_stack; \
	__s32 user_stack

#define STACK_FRAMES 64 /* of a stack at most, the last ones called */

/*
 * More than any name: the longest is "/dev/fd/<int>/<path of PATH_MAX>"
 * (fs/exec.c, alloc_bprm).
 */
#define EXEC_FILENAME_MAX (4096 + 32)

/* A process runs another file. Its other threads are gone by now. */
struct exec_event {
	EVENT_FIELDS;
	__u32 old_pid;	      /* of the thread that called; it is pid from now on */
	__u32 filename_size;  /* bytes, with the NUL; EXEC_FILENAME_MAX: it was cut */
	STACK_FIELDS;
	char filename[];      /* as the caller gave it; of a script, the script's */
};

/*
 * A thread ended. Of a process's threads one alone has group_dead, the last to
 * go, and its exit_code, signal and core_dumped are the process's, as wait4
 * tells them. The leader ends without it while other threads live on, or when
 * another thread execs and takes its pid over.
 */
struct exit_event {
	EVENT_FIELDS;
	__u32 exit_code; /* 0..255, 0 when killed */
	__u16 signal;	 /* what killed it, or 0 */
	bool core_dumped;
	bool group_dead;
	STACK_FIELDS;
};

/* A process that lives, in the table PROCESSES of the tracer's arena; its key is the pid, 4 bytes. */
struct process_entry {
	__u32 pid;
	__u32 ppid;	  /* when it was made */
	__u64 start_time; /* CLOCK_BOOTTIME, ns; in steps of 10 ms of one that was there before the tracer */
	__u64 execs;	  /* since the tracer was started */
	char comm[EVENT_COMM_SIZE];
};

/*
 * How the records of one type that one program wrote fared, on one CPU. Of no type, failed are the
 * changes that the table of processes did not get.
 */
struct event_counts {
	__u64 written;
	__u64 failed;  /* there was no room in the ring */
	__u64 ignored; /* the rules say so */
	__u64 unhandled; /* there was no handler */
	__u64 stacks_lost; /* another one was in their place */
};

/*
 * Commands to the tracer, samples of its user ring. A rule is about a process, a
 * name or a cgroup; of one subject the last rule counts. Events of what is ignored are not
 * written; once something is watched, nor are those of what is not.
 */
enum command_type {
	WATCH_COMMAND = 1,
	IGNORE_COMMAND = 2,
	FORGET_COMMAND = 3, /* the rule about the subject */
	RESET_COMMAND = 4,  /* all rules; the subject does not matter */
};

enum command_subject {
	PID_SUBJECT = 1,    /* id is a tgid: the process that has it now, and its children */
	COMM_SUBJECT = 2,   /* comm, as in the event */
	CGROUP_SUBJECT = 3, /* id is a cgroup's, as in the event */
};

struct command {
	enum command_type type;
	enum command_subject subject;
	__u64 cookie; /* the sender's own, given back */
	__u64 id;
	char comm[EVENT_COMM_SIZE]; /* zeros behind the name */
};

/* A command was taken. Events behind it in the ring are as it says. */
struct ack_event {
	enum event_type type;
	__u32 error; /* errno: 0, EINVAL, E2BIG (too many rules), ENOENT (no such rule) */
	__u64 ktime; /* CLOCK_MONOTONIC, ns */
	enum command_type command;
	enum command_subject subject;
	__u64 cookie;
	__u64 id;
	char comm[EVENT_COMM_SIZE];
	__u32 rules;   /* so many there are now ... */
	__u32 watches; /* ... and so many of them watch */
};

#define RULES_MAX 1024

#endif

/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_PROCTRACE_STATE_H
#define RBTOOL_PROCTRACE_STATE_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include "proctrace.h"

/* Keys and values of maps that only the programs and package proctrace use. */

/* An event that one copy of a program has written. */
struct mark {
	enum event_type type;
	__u32 pid;
	__u64 start_time; /* start time of the task, since pids are reused */
};

struct process {
	__u32 tgid;
	__u32 pad;
	__u64 start_time;
};

/* The subject of a rule. */
struct rule {
	enum command_subject subject;
	__u32 pad;
	__u64 id;
	char comm[EVENT_COMM_SIZE];
};

/*
 * What a rule says. Pids are reused: a rule about a pid applies to the process that has the pid
 * when the rule is made. If the kernel permits maps to hold tasks, the rule holds the leader of
 * that process. Otherwise the programs compare start times: the rule does not apply to a process
 * that started after the rule was made.
 */
struct verdict {
	enum command_type says; /* WATCH_COMMAND or IGNORE_COMMAND */
	__u32 pad;
	__u64 since; /* CLOCK_BOOTTIME, ns */
	struct task_struct __kptr *leader;
};

struct rule_counts {
	__u32 rules;
	__u32 watches;
	/* The cookie and the result of the last command, for its sender. */
	__u64 cookie;
	__u32 error;
	__u32 holds_tasks; /* the value of hold_tasks, for user space */
	__u32 held;	   /* number of rules that hold a task */
	__u32 pad;
};

/* Holds the timer that polls for commands. */
struct listener {
	struct bpf_timer timer;
};

#endif

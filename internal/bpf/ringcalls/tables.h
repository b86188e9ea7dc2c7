/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* What the programs know of the kernel, and what they write for user space. */
#ifndef RINGCALLS_TABLES_H
#define RINGCALLS_TABLES_H

#include "kernel.h"
#include <bpf/bpf_helpers.h>

#define NAME_LEN 64	 /* of a symbol, cut */
#define FRAME_WORDS 40	 /* words of the trampoline's frame in which to look for the return address */
#define CLASSES 32	 /* of sizes: class n has those of n significant bits */
#define TRIAL_SIZE (256 << 10)
#define TRIAL_CALLS 64	 /* of try_many */
#define SETTLED_CALLS 64	 /* on one CPU, after which no call on another CPU is in flight any more */
#define PENDING_STEPS 64 /* records that pending() walks over */

/* kernel/bpf/ringbuf.c, kernel/bpf/helpers.c (bpf_dynptr_check_size) */
#define HEADER_SIZE 8
#define BUSY_BIT (1U << 31)
#define DISCARD_BIT (1U << 30)
#define MAX_RECORD_SIZE (0xffffffffU / 4)
#define MAX_DYNPTR_SIZE 0xffffffU

/* arch/x86/include/asm/debugreg.h */
#define DR_TRAP_BITS 0xf
#define DR_STEP 0x4000

#define STACK_SIZE (16 << 10)	/* THREAD_SIZE of x86-64, and of arm64 with pages of up to 16 KiB */
#define INTERRUPT_FLAG (1 << 9) /* X86_EFLAGS_IF */

/* arch/arm64/include/uapi/asm/ptrace.h. The upper bits of a kernel address are set; in a signed one they have the code. */
#define INTERRUPT_MASK (1 << 7) /* PSR_I_BIT */
#define UPPER_BITS (0xffffULL << 48)

/* The helpers; also the index into first_address. */
enum helper { RESERVE, RESERVE_DYNPTR, OUTPUT, HELPERS };

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct bpf_map {
	__u32 id;
};

struct raw_spinlock {}; /* since 6.15 rqspinlock_t */

struct bpf_ringbuf {
	__u64 mask;
	bool overwrite_mode;
	struct raw_spinlock spinlock;
	unsigned long consumer_pos;
	unsigned long producer_pos;
	unsigned long pending_pos;
	char data[];
};

struct bpf_ringbuf_map {
	struct bpf_map map;
	struct bpf_ringbuf *rb;
};

/* arch/arm64/include/asm/ptrace.h */
struct pt_regs___arm64 {
	__u64 regs[31];
	__u64 sp;
	__u64 pc;
	__u64 pstate;
};

/* arch/x86/include/asm/ptrace.h */
struct pt_regs {
	unsigned long cx;
	unsigned long dx;
	unsigned long si;
	unsigned long di;
	unsigned long ip;
	unsigned long flags;
	unsigned long sp;
};

struct task_struct {
	void *stack;
};

/* include/linux/kdebug.h */
struct die_args {
	struct pt_regs *regs;
	long err;
};

enum die_val {
	DIE_DEBUG = 3,
};

#pragma clang attribute pop

/* The context of a raw_tp program. */
struct bpf_raw_tracepoint_args {
	__u64 args[1];
};

/* The context of a perf_event program on x86-64 (arch/x86/include/uapi/asm/ptrace.h, user_regs_struct). */
struct perf_event_x86 {
	__u64 r15, r14, r13, r12, bp, bx, r11, r10, r9, r8, ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};

/* Where the last calls of a CPU are kept: an interrupt can come between the entry of a call and its end, but has
 * another stack than tasks. */
enum stack { TASK_STACK, OTHER_STACK, STACKS };

/* What happened to a call, as far as its entry tells. */
enum outcome { NONE, RESERVED, REFUSED };

struct tally {
	__u64 calls;
	__u64 failed;
	__u64 failed_bytes; /* headers and padding included, without invalid calls */
};

/* A call whose outcome was computed at its entry. */
struct call {
	__u64 ticket;
	__u64 address;
	__u64 producer_pos;
	__u64 limit; /* what the new position must not leave behind by the ring's size */
	__u64 size;
	__u64 stack;	     /* stack pointer */
	__u32 interruptible; /* interrupts were on */
	__u32 outcome;
};

/* The calls on one ring on one CPU. */
struct counts {
	struct tally all;
	__u64 invalid;	       /* failed calls that no ring of this size serves */
	__u64 bytes;	       /* of all calls but the invalid ones */
	__u64 unsure_reserved; /* outcomes that nothing has confirmed */
	__u64 unsure_refused;
	__u64 needed;	       /* capacity that would have held the burst, in bytes */
	__u64 first_failure;   /* CLOCK_MONOTONIC, ns */
	__u64 last_failure;
	__u64 min_size;	       /* of valid calls, plus 1; 0 is unset */
	__u64 max_size;
	struct call last[STACKS]; /* their outcome is not checked yet */
	struct tally classes[CLASSES];
};

/* What all CPUs share of a ring. */
struct ring {
	__u64 tickets;
	__u64 start;   /* producer_pos before the first call that counts */
	__u64 refused; /* bytes, since the ring was last empty */
	__u64 size;
	__u64 overwrite;
	__u64 contended; /* calls at whose entry another CPU held the lock */
	__u64 switched; /* ticket of the last call that came on another CPU than the one before */
	__u64 cpu;	/* of the last call */
};

struct caller_key {
	__u32 ring;
	__u32 unused;
	__u64 address;
};

struct caller {
	struct tally all;
	__u64 min_size; /* plus 1; 0 is unset */
	__u64 max_size;
};

struct second_key {
	__u32 ring;
	__u32 second; /* of CLOCK_MONOTONIC */
};

struct second {
	__u64 failed;
	__u64 failed_bytes;
};

struct total {
	__u64 hits;	      /* runs of the program for a helper, whatever the ring */
	__u64 unattributed;   /* calls that no ring has */
	__u64 without_caller; /* calls that their ring has, but no caller */
	__u64 without_second;
};

struct frame {
	__u64 words[FRAME_WORDS];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, __u32);
	__uint(max_entries, 1);
} wanted SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, struct ring);
	__uint(max_entries, 1);
} rings SEC(".maps");

struct {
	__uint(type, 5 /* BPF_MAP_TYPE_PERCPU_HASH */);
	__type(key, __u32);
	__type(value, struct counts);
	__uint(max_entries, 1);
} counted SEC(".maps");

struct {
	__uint(type, 5 /* BPF_MAP_TYPE_PERCPU_HASH */);
	__type(key, struct caller_key);
	__type(value, struct caller);
	__uint(max_entries, 1);
} callers SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u64);
	__type(value, char[NAME_LEN]);
	__uint(max_entries, 1);
} names SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, struct second_key);
	__type(value, struct second);
	__uint(max_entries, 1);
} seconds SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__type(key, __u32);
	__type(value, struct total);
	__uint(max_entries, 1);
} totals SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, struct frame);
	__uint(max_entries, HELPERS);
} frames SEC(".maps");

/* The ring of the programs that calibrate. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, TRIAL_SIZE);
} trial SEC(".maps");

/* Set by user space before the programs are loaded. */
const volatile __u8 all_rings;
const volatile __u8 dump_frames;
const volatile __u8 resolve_names;     /* the kernel has bpf_snprintf */
const volatile __u32 return_offset;    /* of the return address, from the context of fexit; 0 unknown */
/* Where engine breakpoint finds the instruction pointer at the entry of a helper; 0 if the kernel lacks it. */
const volatile __u64 first_address[HELPERS];
const volatile __u64 last_address[HELPERS];

/* Set by user space while the programs run. The only variable that is not constant. */
struct control {
	__u32 counting;
	__u32 only; /* the only ring to count; 0 any */
};
struct control now;

static const struct counts no_counts;
static const char name_format[] = "%ps";

#endif

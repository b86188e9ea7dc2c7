/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef CORPUS_H
#define CORPUS_H

/* What the programs of the corpus share. */
#include "kernel.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define BPF_MAP_TYPE_ARRAY_OF_MAPS 12
#define BPF_MAP_TYPE_HASH_OF_MAPS 13

#define RING(name)                                  \
	struct {                                    \
		__uint(type, BPF_MAP_TYPE_RINGBUF); \
		__uint(max_entries, 64 << 10);      \
	} name SEC(".maps")

/* A buffer for records too large for the stack. */
#define HEAP(name, what)                                  \
	struct {                                          \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);  \
		__uint(max_entries, 1);                   \
		__type(key, __u32);                       \
		__type(value, what);                      \
	} name SEC(".maps")

/* Kernel types. */
struct task_struct {
	int pid;
	int tgid;
	struct task_struct *real_parent;
} __attribute__((preserve_access_index));

/* Has a pointer leave the registers that calls preserve. */
#define SPILL() asm volatile("" ::: "r6", "r7", "r8", "r9")

#endif

/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_KERNEL_H
#define RBTOOL_KERNEL_H

#include <stdbool.h>
#include <stddef.h>

/*
 * The parts of the kernel's headers that the programs use. The programs do not include <linux/bpf.h>: it
 * needs <asm/types.h>, whose directory depends on the build machine's architecture, and on the oldest
 * supported distribution it lacks newer definitions.
 *
 * A program that uses vmlinux.h or <linux/bpf.h> includes it before this header.
 */

typedef signed char __s8;
typedef unsigned char __u8;
typedef short __s16;
typedef unsigned short __u16;
typedef int __s32;
typedef unsigned int __u32;
typedef long long __s64;
typedef unsigned long long __u64;

typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef __u32 __wsum;

/* enum bpf_map_type */
#define BPF_MAP_TYPE_HASH 1
#define BPF_MAP_TYPE_ARRAY 2
#define BPF_MAP_TYPE_PROG_ARRAY 3
#define BPF_MAP_TYPE_PERF_EVENT_ARRAY 4
#define BPF_MAP_TYPE_PERCPU_HASH 5
#define BPF_MAP_TYPE_PERCPU_ARRAY 6
#define BPF_MAP_TYPE_STACK_TRACE 7
#define BPF_MAP_TYPE_LRU_HASH 9
#define BPF_MAP_TYPE_LPM_TRIE 11
#define BPF_MAP_TYPE_ARRAY_OF_MAPS 12
#define BPF_MAP_TYPE_HASH_OF_MAPS 13
#define BPF_MAP_TYPE_RINGBUF 27
#define BPF_MAP_TYPE_USER_RINGBUF 31
#define BPF_MAP_TYPE_ARENA 33

/* map_flags */
#define BPF_F_NO_PREALLOC (1U << 0)
#define BPF_F_STACK_BUILD_ID (1U << 5)
#define BPF_F_MMAPABLE (1U << 10)
#define BPF_F_RB_OVERWRITE (1U << 19)

/* node_id of bpf_arena_alloc_pages for any node */
#define NUMA_NO_NODE (-1)

/* flags of bpf_map_update_elem */
#define BPF_ANY 0
#define BPF_NOEXIST 1

/* flags of bpf_get_stackid */
#define BPF_F_USER_STACK (1ULL << 8)

/* flags of bpf_ringbuf_output, _submit and _discard, and of bpf_user_ringbuf_drain */
#define BPF_RB_NO_WAKEUP (1ULL << 0)
#define BPF_RB_FORCE_WAKEUP (1ULL << 1)

/* flags of bpf_ringbuf_query; the kernel returns 0 for an unknown flag */
#define BPF_RB_AVAIL_DATA 0
#define BPF_RB_RING_SIZE 1
#define BPF_RB_CONS_POS 2
#define BPF_RB_PROD_POS 3
#define BPF_RB_OVERWRITE_POS 4

#if !defined(__VMLINUX_H__) && !defined(__LINUX_BPF_H__)
struct bpf_dynptr {
	__u64 opaque[2];
} __attribute__((aligned(8)));

struct bpf_timer {
	__u64 opaque[2];
} __attribute__((aligned(8)));
#endif

/* <asm-generic/errno-base.h>, <asm-generic/errno.h> */
#define ENOENT 2
#define E2BIG 7
#define EAGAIN 11
#define ENOMEM 12
#define EBUSY 16
#define EEXIST 17
#define EINVAL 22
#define ELOOP 40
#define ENODATA 61
#define ENOBUFS 105
#define EALREADY 114

/* <linux/time.h> */
#define CLOCK_MONOTONIC 1

#endif

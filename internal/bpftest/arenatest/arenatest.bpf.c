//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* One program for each feature that the loader must support. They use the arena's first page. */
#include "arena.h"
#include <bpf/bpf_tracing.h>

ARENA_DEFINE();

struct page {
	__u64 count;
	__u64 sum;
	__u64 seen[4];
};

#define PAGE ((struct page __arena *)arena_base)

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} array SEC(".maps");

const volatile __u64 from_rodata = 1;
__u64 from_data = 2;
__u64 from_bss;

extern int rbtool_no_such_kfunc(__u64 x) __ksym __weak;
extern void rbtool_no_such_required_kfunc(void) __ksym;

static __noinline __u64 static_sub(__u64 x)
{
	ARENA_WRITE(PAGE->count, PAGE->count + 1);
	return x + 10;
}

__noinline __u64 global_sub(__u64 x)
{
	return x + 100;
}

static long callback(__u64 i, void *ctx)
{
	ARENA_WRITE(PAGE->count, PAGE->count + 1);
	return 0;
}

/* A program with all kinds of references. */
SEC("syscall")
int references(void *ctx)
{
	__u32 zero = 0;
	__u64 *value = bpf_map_lookup_elem(&array, &zero);
	__u64 sum = from_rodata + from_data + from_bss;

	arena_use();
	sum = global_sub(static_sub(sum));
	if (value)
		sum += *value;
	bpf_loop(3, callback, NULL, 0);
	if (rbtool_no_such_kfunc)
		sum += rbtool_no_such_kfunc(1);
	from_bss++;
	ARENA_WRITE(PAGE->sum, sum);
	return 0;
}

SEC("syscall")
int without_kfunc(void *ctx)
{
	arena_use();
	ARENA_WRITE(PAGE->sum, 1);
	rbtool_no_such_required_kfunc();
	return 0;
}

SEC("syscall")
int without_cast(void *ctx)
{
	return from_rodata;
}

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__array(values, int(void *));
} tails SEC(".maps");

SEC("xdp")
int tail(void *ctx)
{
	arena_use();
	ARENA_WRITE(PAGE->sum, 77);
	return 7;
}

SEC("xdp")
int tail_calls(void *ctx)
{
	arena_use();
	ARENA_WRITE(PAGE->sum, 1);
	bpf_tail_call(ctx, &tails, 1);
	return 0;
}

struct access {
	__u64 addr;
	__u64 value;
};

SEC("syscall")
int peek(struct access *a)
{
	arena_use();
	a->value = *(volatile __u64 __arena *)a->addr;
	return 0;
}

SEC("syscall")
int poke(struct access *a)
{
	arena_use();
	*(volatile __u64 __arena *)a->addr = a->value;
	return 0;
}

/* Stores at addr its own address, converted to a kernel pointer and back. */
SEC("syscall")
int store_pointer(struct access *a)
{
	__u64 __arena *p = (__u64 __arena *)a->addr;
	__u64 *kernel = (__u64 *)p;

	arena_use();
	asm volatile("" : "+r"(kernel));
	*(volatile __u64 __arena *)p = (__u64)(__u64 __arena *)kernel;
	return 0;
}

/* The types of the project's programs. Each program converts an arena pointer. */
#define SEE(i)                                                                                                         \
	do {                                                                                                           \
		arena_use();                                                                                           \
		ARENA_WRITE(PAGE->seen[i], 1);                                                                         \
	} while (0)

SEC("xdp")
int type_xdp(void *ctx)
{
	SEE(0);
	return 2; /* XDP_PASS */
}

SEC("raw_tp/sched_process_exec")
int type_raw_tp(void *ctx)
{
	SEE(1);
	return 0;
}

SEC("tp_btf/sched_process_exec")
int type_tp_btf(void *ctx)
{
	SEE(2);
	return 0;
}

SEC("fentry/bpf_fentry_test1")
int type_fentry(void *ctx)
{
	SEE(3);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Programs that put records into rings in the ways that programs do. flow_test.go says what is to be found.
#include "kernel.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define __noinline __attribute__((noinline))

#ifndef BPF_MAP_TYPE_ARRAY_OF_MAPS
#define BPF_MAP_TYPE_ARRAY_OF_MAPS 12
#define BPF_MAP_TYPE_HASH_OF_MAPS 13
#endif

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 << 10);
} ring SEC(".maps"), other SEC(".maps");

struct event {
	__u32 pid, tid;
	__u64 time;
	char comm[16];
	__u32 code;
};

// The record is on the stack.
SEC("raw_tp")
int on_stack(void *ctx)
{
	struct event e = {};
	e.pid = bpf_get_current_pid_tgid() >> 32;
	e.time = bpf_ktime_get_ns();
	bpf_get_current_comm(e.comm, sizeof(e.comm));
	e.code = 7;
	return bpf_ringbuf_output(&ring, &e, sizeof(e), 0);
}

// One function sends records of two types.
struct small {
	__u64 kind;
};

static __noinline int send(void *data, __u64 size)
{
	return bpf_ringbuf_output(&ring, data, size, 0);
}

SEC("raw_tp")
int wrapped(void *ctx)
{
	struct event e = {};
	struct small s = { .kind = 5 };
	bpf_get_current_comm(e.comm, sizeof(e.comm));
	send(&e, sizeof(e));
	return send(&s, sizeof(s));
}

// Two records are filled by one function.
static __noinline int fill(struct event *e, __u32 code)
{
	if (!e)
		return 0;
	e->time = bpf_ktime_get_ns();
	e->code = code;
	return 0;
}

SEC("raw_tp")
int filled(void *ctx)
{
	struct event e, f;
	__builtin_memset(&e, 0, sizeof(e));
	__builtin_memset(&f, 0, sizeof(f));
	fill(&e, 1);
	e.pid = 11;
	bpf_ringbuf_output(&ring, &e, sizeof(e), 0);
	fill(&f, 2);
	f.pid = 12;
	return bpf_ringbuf_output(&ring, &f, sizeof(f), 0);
}

static __noinline void tids(struct event *e, int n)
{
	e->tid = n;
}

// Two reservations come together.
SEC("raw_tp")
int merged(void *ctx)
{
	struct event *e;
	if (bpf_get_prandom_u32() & 1) {
		e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
		if (!e)
			return 0;
		e->code = 1;
	} else {
		e = bpf_ringbuf_reserve(&ring, sizeof(*e) + 8, 0);
		if (!e)
			return 0;
		e->code = 2;
	}
	tids(e, 9);
	e->pid = 3;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

// A function reserves the record for its callers.
static __noinline struct event *reserve(void)
{
	return bpf_ringbuf_reserve(&ring, sizeof(struct event), 0);
}

SEC("raw_tp")
int reserved(void *ctx)
{
	struct event *e = reserve();
	if (!e)
		return 0;
	e->code = 4;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

// A part of an element of a map, some of its length.
struct wire {
	__u32 a, b;
	char text[56];
};
struct scratch {
	__u64 calls, used;
	struct wire w;
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} heap SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct scratch);
} table SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, struct scratch);
} array SEC(".maps");

#define PART(name, map)                                                 \
	SEC("raw_tp")                                                   \
	int name(void *ctx)                                             \
	{                                                               \
		__u32 key = bpf_get_smp_processor_id();                 \
		struct scratch *s = bpf_map_lookup_elem(&map, &key);    \
		if (!s)                                                 \
			return 0;                                       \
		s->used = 99;                                           \
		s->w.a = 1;                                             \
		s->w.b = 2;                                             \
		bpf_probe_read_kernel_str(s->w.text, sizeof(s->w.text), ctx); \
		__u64 n = 8 + (bpf_get_prandom_u32() & 31);             \
		return bpf_ringbuf_output(&ring, &s->w, n, 0);          \
	}
PART(part_percpu, heap)
PART(part_hash, table)
PART(part_array, array)

// A global variable, by way of an argument.
struct wire global;

SEC("raw_tp")
int variable(void *ctx)
{
	global.b = 6;
	return send(&global, sizeof(global));
}

// Text of a length that a helper returns.
SEC("raw_tp")
int text(void *ctx)
{
	__u32 zero = 0;
	struct scratch *s = bpf_map_lookup_elem(&heap, &zero);
	if (!s)
		return 0;
	long n = bpf_probe_read_kernel_str(s->w.text, sizeof(s->w.text), ctx);
	if (n < 0 || n > (long)sizeof(s->w.text))
		return 0;
	return bpf_ringbuf_output(&ring, s->w.text, n, 0);
}

// A ring in a map of maps; the function gets it.
struct inner {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 << 10);
} first SEC(".maps"), second SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct inner);
} rings SEC(".maps") = { .values = { &first, &second } };
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, struct inner);
} named_rings SEC(".maps") = { .values = { &first, &second } };

static __noinline int put(void *rb)
{
	struct event *e = bpf_ringbuf_reserve(rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->code = 8;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("raw_tp")
int nested(void *ctx)
{
	__u32 cpu = bpf_get_smp_processor_id() & 1;
	void *rb = bpf_map_lookup_elem(&rings, &cpu);
	return rb ? put(rb) : 0;
}

SEC("raw_tp")
int nested_hash(void *ctx)
{
	__u32 cpu = bpf_get_smp_processor_id() & 1;
	void *rb = bpf_map_lookup_elem(&named_rings, &cpu);
	return rb ? put(rb) : 0;
}

// The ring is one of two.
SEC("raw_tp")
int one_of_two(void *ctx)
{
	return bpf_get_prandom_u32() & 1 ? put(&ring) : put(&other);
}

// Writes through dynptrs.
SEC("raw_tp")
int by_dynptr(void *ctx)
{
	struct bpf_dynptr d;
	struct small s = { .kind = 3 };
	__u32 n = bpf_get_prandom_u32() & 127;
	if (bpf_ringbuf_reserve_dynptr(&ring, sizeof(struct event) + n, 0, &d)) {
		bpf_ringbuf_discard_dynptr(&d, 0);
		return 0;
	}
	bpf_dynptr_write(&d, 0, &s, sizeof(s), 0);
	struct event *e = bpf_dynptr_data(&d, 8, sizeof(*e));
	if (e)
		e->code = 2;
	bpf_ringbuf_submit_dynptr(&d, 0);
	return 0;
}

// A callback fills the record.
struct loop {
	struct event *e;
	__u64 base;
};

static int step(__u32 i, struct loop *l)
{
	l->e->tid = 5;
	return 0;
}

SEC("raw_tp")
int by_callback(void *ctx)
{
	struct loop l = {};
	l.e = bpf_ringbuf_reserve(&ring, sizeof(struct event), 0);
	if (!l.e)
		return 0;
	bpf_loop(10, step, &l, 0);
	bpf_ringbuf_submit(l.e, 0);
	return 0;
}

// A loop writes at offsets that are not constant.
SEC("raw_tp")
int looped(void *ctx)
{
	struct wire *w = bpf_ringbuf_reserve(&ring, sizeof(*w), 0);
	if (!w)
		return 0;
	w->a = 1;
#pragma clang loop unroll(disable)
	for (int i = 0; i < 56; i++)
		w->text[i] = i;
	bpf_ringbuf_submit(w, 0);
	return 0;
}

// Later writes cover earlier ones, or not on every path.
SEC("raw_tp")
int overwritten(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
	if (!e)
		return 0;
	e->pid = 1;
	e->code = 2;
	bpf_probe_read_kernel(&e->pid, sizeof(e->pid), ctx);
	if (bpf_get_prandom_u32() & 1)
		bpf_probe_read_kernel(&e->code, sizeof(e->code), ctx);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

// An element is reused for a record of another type, and a function finds it again.
static __noinline int fill_again(void)
{
	__u32 zero = 0;
	struct wire *w = bpf_map_lookup_elem(&heap, &zero);
	if (w)
		bpf_probe_read_kernel_str(w->text, sizeof(w->text), 0);
	return 0;
}

SEC("raw_tp")
int reused(void *ctx)
{
	__u32 zero = 0;
	struct wire *w = bpf_map_lookup_elem(&heap, &zero);
	if (!w)
		return 0;
	w->a = 1;
	fill_again();
	bpf_ringbuf_output(&ring, w, sizeof(*w), 0);
	struct event *e = (void *)w;
	e->pid = 2;
	e->time = bpf_ktime_get_ns();
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	e->code = e->pid + 5;
	return bpf_ringbuf_output(&ring, e, sizeof(*e), 0);
}

// Samples of a user ring.
struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 64 << 10);
} user SEC(".maps");
struct command {
	__u32 op;
	__u16 port;
	__u64 value;
};

static long handle(struct bpf_dynptr *d, void *ctx)
{
	struct command *c = bpf_dynptr_data(d, 0, sizeof(*c));
	if (c)
		global.a = c->op + c->value;
	return 0;
}

SEC("raw_tp")
int drained(void *ctx)
{
	return bpf_user_ringbuf_drain(&user, handle, 0, 0);
}

// Samples are copied to the stack.
static __noinline int apply(struct command *c)
{
	global.b = c->port;
	return 0;
}

static long copy(struct bpf_dynptr *d, void *ctx)
{
	struct command c;
	if (bpf_dynptr_read(&c, sizeof(c), d, 0, 0))
		return 0;
	global.a = c.op;
	apply(&c);
	return 0;
}

SEC("raw_tp")
int copied(void *ctx)
{
	return bpf_user_ringbuf_drain(&user, copy, 0, 0);
}

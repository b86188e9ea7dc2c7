//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Programs as found on other systems: compiled with -g, loaded by libbpf. Each ring is one
// case of how the type of its records can be found, or why it cannot.
#include "kernel.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

#define RING(name)                                   \
	struct {                                     \
		__uint(type, BPF_MAP_TYPE_RINGBUF);  \
		__uint(max_entries, 64 << 10);       \
	} name SEC(".maps")

// The record is passed to a function.
enum kind { KIND_OPEN = 1, KIND_CLOSE = 2 };
struct passed {
	enum kind kind;
	__u32 pid;
	char comm[16];
};
RING(by_argument);

static __attribute__((noinline)) int fill(struct passed *e)
{
	if (!e)
		return 0;
	e->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(e->comm, sizeof(e->comm));
	return 0;
}

SEC("raw_tp")
int argument(void *ctx)
{
	struct passed *e = bpf_ringbuf_reserve(&by_argument, sizeof(*e), 0);
	if (!e)
		return 0;
	e->kind = KIND_CLOSE;
	fill(e);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

// The record is a global variable.
struct counters {
	__u64 a, b;
};
struct counters totals;
RING(by_variable);

SEC("raw_tp")
int variable(void *ctx)
{
	totals.a++;
	totals.b += 2;
	return bpf_ringbuf_output(&by_variable, &totals, sizeof(totals), 0);
}

// The record is an element of another map; the verifier inlines the lookup.
struct scratch {
	__u64 time;
	__u32 words[4];
};
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} heap SEC(".maps");
RING(by_element);

SEC("raw_tp")
int element(void *ctx)
{
	__u32 zero = 0;
	struct scratch *s = bpf_map_lookup_elem(&heap, &zero);
	if (!s)
		return 0;
	s->time = 7;
	s->words[3] = 9;
	return bpf_ringbuf_output(&by_element, s, sizeof(*s), 0);
}

// The source line names the type, which a variable exports because no function has it as an argument.
struct spoken {
	__u32 pid;
	__u32 cpu;
	__u64 time;
};
const struct spoken *unused_spoken __attribute__((unused));
RING(by_line);

SEC("raw_tp")
int line(void *ctx)
{
	struct spoken *e = bpf_ringbuf_reserve(&by_line, sizeof(struct spoken), 0);
	if (!e)
		return 0;
	e->pid = 1;
	e->cpu = 2;
	e->time = 3;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

// Only one type has the size of the record; the pointer is declared on another line.
struct lonely {
	__u64 a, b, c, d, e;
};
const struct lonely *unused_lonely __attribute__((unused));
RING(by_size);

SEC("raw_tp")
int size(void *ctx)
{
	struct lonely *e;
	e = bpf_ringbuf_reserve(&by_size, sizeof(*e), 0);
	if (!e)
		return 0;
	e->a = 1;
	e->b = e->c = e->d = e->e = 2;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

// The type is in no BTF.
struct hidden {
	__u32 a, b, c;
};
RING(by_nothing);

SEC("raw_tp")
int nothing(void *ctx)
{
	struct hidden *e = bpf_ringbuf_reserve(&by_nothing, sizeof(*e), 0);
	if (!e)
		return 0;
	e->a = 1;
	e->b = 2;
	e->c = 3;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

// Three types in one ring, two of the same length: a constant at their start tells them apart.
struct opened {
	__u32 kind;
	__u32 fd;
};
struct closed {
	__u32 kind;
	__s32 result;
};
struct renamed {
	__u32 kind;
	char to[20];
};
RING(by_tag);

static __attribute__((noinline)) void opening(struct opened *e) { if (e) e->fd = 3; }
static __attribute__((noinline)) void closing(struct closed *e) { if (e) e->result = -9; }
static __attribute__((noinline)) void renaming(struct renamed *e) { if (e) __builtin_memcpy(e->to, "elsewhere", 10); }

SEC("raw_tp")
int tag(void *ctx)
{
	struct opened *o = bpf_ringbuf_reserve(&by_tag, sizeof(*o), 0);
	if (o) {
		o->kind = 10;
		opening(o);
		bpf_ringbuf_submit(o, 0);
	}
	struct closed *c = bpf_ringbuf_reserve(&by_tag, sizeof(*c), 0);
	if (c) {
		c->kind = 11;
		closing(c);
		bpf_ringbuf_submit(c, 0);
	}
	struct renamed *r = bpf_ringbuf_reserve(&by_tag, sizeof(*r), 0);
	if (r) {
		r->kind = 12;
		renaming(r);
		bpf_ringbuf_submit(r, 0);
	}
	return 0;
}

// Two types of the same length that cannot be told apart, and one type of another length.
struct left {
	__u64 l;
};
struct right {
	__s64 r;
};
struct middle {
	__u64 m[3];
};
RING(by_length);

static __attribute__((noinline)) void lefts(struct left *e) { if (e) e->l = bpf_ktime_get_ns(); }
static __attribute__((noinline)) void rights(struct right *e) { if (e) e->r = bpf_ktime_get_ns(); }
static __attribute__((noinline)) void middles(struct middle *e) { if (e) e->m[0] = e->m[1] = e->m[2] = 5; }

SEC("raw_tp")
int length(void *ctx)
{
	struct left *l = bpf_ringbuf_reserve(&by_length, sizeof(*l), 0);
	if (l) {
		lefts(l);
		bpf_ringbuf_submit(l, 0);
	}
	struct right *r = bpf_ringbuf_reserve(&by_length, sizeof(*r), 0);
	if (r) {
		rights(r);
		bpf_ringbuf_submit(r, 0);
	}
	struct middle *m = bpf_ringbuf_reserve(&by_length, sizeof(*m), 0);
	if (m) {
		middles(m);
		bpf_ringbuf_submit(m, 0);
	}
	return 0;
}

// The size of the record is not constant.
char text[64];
RING(by_chance);

SEC("raw_tp")
int chance(void *ctx)
{
	__u64 n = bpf_get_prandom_u32() & 31;
	return bpf_ringbuf_output(&by_chance, text, n, 0);
}

// The record is put into the ring by a function that gets a pointer to it from its callers.
RING(by_caller);

static __attribute__((noinline)) int emit(struct counters *c)
{
	if (!c)
		return 0;
	struct counters copy = *c;
	return bpf_ringbuf_output(&by_caller, &copy, sizeof(copy), 0);
}

SEC("raw_tp")
int caller(void *ctx)
{
	return emit(&totals);
}

// No program refers to this ring.
RING(by_nobody);
SEC("raw_tp")
int nobody(void *ctx)
{
	return 0;
}

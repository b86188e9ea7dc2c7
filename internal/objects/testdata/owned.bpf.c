//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// An object as loaders embed it, with DWARF. Its rings say in different ways which types their records
// have.
#include "kernel.h"
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

// The definition of the map says it.
struct event {
	__u32 pid;
	char comm[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 << 10);
	__type(value, struct event);
} declared SEC(".maps");

// The definition lists several types.
struct opened {
	__u64 file;
};
struct closed {
	__u32 kind;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 << 10);
	__type(value, union {
		struct opened opened;
		struct closed closed;
	});
} several_kinds_of_records SEC(".maps");

// Only the debugging information says it: the type is used within a function.
enum color { RED = 1, BLUE = 1 << 20, NONE = -1 };

typedef struct {
	__u16 low, high;
} pair_t;

struct local {
	__u64 time;
	enum color color;
	__u32 flag : 1, level : 5;
	__s64 signed_bits : 40;
	pair_t pairs[2][3];
	union {
		__u32 v4;
		__u8 v6[16];
	};
	struct local *next;
	const volatile char text[5];
	_Bool last;
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 64 << 10);
} undeclared SEC(".maps");

SEC("raw_tp")
int produces(void *ctx)
{
	struct local *record = bpf_ringbuf_reserve(&undeclared, sizeof(*record), 0);

	if (!record)
		return 0;
	record->time = bpf_ktime_get_ns();
	record->color = BLUE;
	record->last = 1;
	bpf_ringbuf_submit(record, 0);
	return 0;
}

SEC("raw_tp")
int produces_what_is_declared(void *ctx)
{
	struct event e = {.pid = bpf_get_current_pid_tgid() >> 32};

	bpf_get_current_comm(e.comm, sizeof(e.comm));
	return bpf_ringbuf_output(&declared, &e, sizeof(e), 0);
}

/* Another section: DWARF lists the ranges of code apart then. */
SEC("raw_tracepoint")
int produces_several(void *ctx)
{
	struct opened o = {.file = 1};
	struct closed c = {.kind = 2};

	bpf_ringbuf_output(&several_kinds_of_records, &o, sizeof(o), 0);
	return bpf_ringbuf_output(&several_kinds_of_records, &c, sizeof(c), 0);
}

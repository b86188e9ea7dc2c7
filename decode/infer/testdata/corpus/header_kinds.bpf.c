// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Records of several types that begin with one header; its kind tells them apart.
#include "corpus.h"

enum kind { KIND_START = 1, KIND_DATA = 2, KIND_STOP = 3 };
struct header {
	enum kind kind;
	__u32 pid;
};
struct start {
	struct header h;
	__u64 time;
};
struct data {
	struct header h;
	__u32 length;
	char bytes[12];
};
struct stop {
	struct header h;
	__s32 result;
	__u32 signal;
};
const struct start *unused_start __attribute__((unused));
const struct data *unused_data __attribute__((unused));
const struct stop *unused_stop __attribute__((unused));
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	struct start *e = bpf_ringbuf_reserve(&rb, sizeof(struct start), 0);

	if (!e)
		return 0;
	e->h.kind = KIND_START;
	e->h.pid = 42;
	e->time = 5;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("raw_tp")
int q(void *ctx)
{
	struct data *e = bpf_ringbuf_reserve(&rb, sizeof(struct data), 0);

	if (!e)
		return 0;
	e->h.kind = KIND_DATA;
	e->h.pid = 43;
	e->length = 3;
	__builtin_memcpy(e->bytes, "abc\0\0\0\0\0\0\0\0", 12);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

SEC("raw_tp")
int r(void *ctx)
{
	struct stop *e = bpf_ringbuf_reserve(&rb, sizeof(struct stop), 0);

	if (!e)
		return 0;
	e->h.kind = KIND_STOP;
	e->h.pid = 44;
	e->result = -1;
	e->signal = 9;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A loop that the compiler does not unroll fills an array, at offsets that are not constant.
#include "corpus.h"

struct event {
	__u32 pid;
	__u32 length;
	__u8 data[64];
};
RING(rb);
volatile __u32 source = 5;

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->pid = source;
	e->length = source;
	_Pragma("clang loop unroll(disable)")
	for (int i = 0; i < 64; i++)
		e->data[i] = source;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

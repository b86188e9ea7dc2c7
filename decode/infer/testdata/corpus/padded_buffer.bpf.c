// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A buffer at the end of a record that has padding after it, filled as far as a variable says.
#include "corpus.h"

struct event {
	__u64 ts;
	__u8 kind;
	__u8 data[32];
};
RING(rb);
volatile __u64 source = 42;
volatile __u32 length = 4;
char text[32] = "data";

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	__u32 n = length;

	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->ts = source;
	e->kind = source;
	if (n <= sizeof(text))
		bpf_probe_read_kernel(e->data, n, text);
	bpf_ringbuf_submit(e, 0);
	return 0;
}

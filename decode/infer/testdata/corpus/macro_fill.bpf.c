// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A macro fills the header of the record: the line has only the macro.
#include "corpus.h"

#define HEADER(e, k)       \
	do {               \
		(e)->pid = 42; \
		(e)->kind = (k); \
	} while (0)

struct event {
	__u32 pid;
	__u32 kind;
	__u64 value;
};
const struct event *unused __attribute__((unused));
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e;

	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	HEADER(e, 7);
	e->value = 9;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

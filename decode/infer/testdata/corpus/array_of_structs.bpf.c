// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// An array of structs in the record.
#include "corpus.h"

struct step {
	__u32 id;
	__s32 result;
};
struct event {
	__u64 time;
	struct step steps[2];
};
const struct event *unused __attribute__((unused));
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	struct event *e = bpf_ringbuf_reserve(&rb, sizeof(struct event), 0);

	if (!e)
		return 0;
	e->time = 5;
	e->steps[0].id = 1;
	e->steps[0].result = -1;
	e->steps[1].id = 2;
	e->steps[1].result = -2;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// A function that the compiler puts into the program has a variable of the same name and size.
#include "corpus.h"

struct start {
	__u64 ts;
	__u64 bytes;
};
struct done {
	__u64 latency;
	__u32 pid;
	__u32 cpu;
};
const struct done *unused_done __attribute__((unused));
HEAP(starts, struct start);
RING(rb);
volatile __u32 source = 42;

static __always_inline void begin(void)
{
	struct start data = {};
	__u32 zero = 0;

	data.ts = source;
	bpf_map_update_elem(&starts, &zero, &data, 0);
}

SEC("raw_tp")
int p(void *ctx)
{
	struct done data;

	begin();
	__builtin_memset(&data, 0, sizeof(data));
	data.latency = source;
	return bpf_ringbuf_output(&rb, &data, sizeof(data), 0);
}

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Enums in a struct that the call's line names.
#include "corpus.h"

enum verdict { VERDICT_ALLOW = 0, VERDICT_DENY = 1, VERDICT_ASK = 2 };
enum direction { INGRESS = 1, EGRESS = 2 };
typedef struct packet_event {
	enum verdict verdict;
	enum direction direction;
	__u32 length;
	__u32 mark;
} packet_event_t;
const packet_event_t *unused __attribute__((unused));
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	packet_event_t *e = bpf_ringbuf_reserve(&rb, sizeof(packet_event_t), 0);

	if (!e)
		return 0;
	e->verdict = VERDICT_DENY;
	e->direction = EGRESS;
	e->length = 60;
	e->mark = 7;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

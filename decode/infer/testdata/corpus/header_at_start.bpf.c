// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The first member is loaded by a call over two lines. The compiler passes the record itself, and gives the second line
// to no instruction.
#include "corpus.h"

struct iphdr {
	__u8 head[12];
	__u32 saddr;
	__u32 daddr;
};
struct event {
	__u32 saddr;
	__u32 daddr;
	__u32 len;
	__u32 state;
};
RING(rb);

#define IP 14

SEC("tc")
int p(struct __sk_buff *skb)
{
	__u32 from = 0x0100007f, to = 0x0200007f;
	struct event *e;

	bpf_skb_store_bytes(skb, IP + offsetof(struct iphdr, saddr), &from, 4, 0);
	bpf_skb_store_bytes(skb, IP + offsetof(struct iphdr, daddr), &to, 4, 0);
	e = bpf_ringbuf_reserve(&rb, sizeof(*e), 0);
	if (!e)
		return 0;
	e->len = bpf_get_smp_processor_id() & 0;
	bpf_skb_load_bytes(skb, IP + offsetof(struct iphdr, saddr),
			   &e->saddr, 4);
	bpf_skb_load_bytes(skb, IP + offsetof(struct iphdr, daddr),
			   &e->daddr, 4);
	e->state = 3;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

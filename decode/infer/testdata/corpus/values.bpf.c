// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// Values that people want read: clocks, users, addresses, ports. JSON shows them raw.
#include "corpus.h"

struct conn {
	__u64 ts_ns;
	__u32 uid;
	__be32 saddr;
	__be32 daddr;
	__be16 dport;
	__u16 family;
	__s32 ret;
	__u8 mac[6];
	__u8 daddr_v6[16];
};
const struct conn *unused __attribute__((unused));
RING(rb);

SEC("raw_tp")
int p(void *ctx)
{
	struct conn *e = bpf_ringbuf_reserve(&rb, sizeof(struct conn), 0);

	if (!e)
		return 0;
	__builtin_memset(e, 0, sizeof(*e));
	e->ts_ns = 1000000000;
	e->uid = bpf_get_current_uid_gid();
	e->saddr = 0x0100007f;
	e->daddr = 0x0200007f;
	e->dport = 0xbb01;
	e->family = 2;
	e->ret = -111;
	e->mac[0] = 2;
	e->mac[5] = 1;
	e->daddr_v6[15] = 1;
	bpf_ringbuf_submit(e, 0);
	return 0;
}

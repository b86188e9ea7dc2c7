/* SPDX-License-Identifier: Apache-2.0 */
/*
 * stream MAP WAY RECORDS: answers ready, then waits for RECORDS records and reads them; answers ns
 * from the first to the last, records, lost records.
 */
#include "peer.h"
#include "ring.h"

struct flow {
	uint64_t next; /* expected sequence number */
	uint64_t lost; /* lost or out of order */
	uint64_t start;
};

static int on_record(void *ctx, void *data, size_t len)
{
	struct flow *f = ctx;
	uint64_t seq;

	(void)len;
	memcpy(&seq, data, sizeof(seq));
	if (!f->start)
		f->start = now();
	if (seq != f->next)
		f->lost++;
	f->next = seq + 1;
	return 0;
}

void stream(const struct request *req)
{
	uint64_t want = number(req, 2), end;
	struct flow f = {};
	struct ring r;
	int err;

	if (ring_open(&r, number(req, 0), on_record, &f))
		return;
	ready();
	err = ring_poll(&r, &f.next, want);
	end = now();
	ring_close(&r);
	if (!err)
		answer((uint64_t[]){ end - f.start, f.next, f.lost }, 3);
}

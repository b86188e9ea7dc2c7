/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wake MAP WAY RECORDS: answers ready, then waits for RECORDS records, one at a time; answers for
 * each record the ns from the time in the record to its arrival.
 */
#include <errno.h>
#include <stdlib.h>

#include "peer.h"
#include "ring.h"

struct delays {
	uint64_t got, want;
	uint64_t *ns;
};

static int on_record(void *ctx, void *data, size_t len)
{
	uint64_t in_hand = now(), committed;
	struct delays *d = ctx;

	(void)len;
	memcpy(&committed, data, sizeof(committed));
	if (d->got < d->want)
		d->ns[d->got++] = in_hand - committed;
	return 0;
}

void wake(const struct request *req)
{
	struct delays d = { .want = number(req, 2) };
	struct ring r;
	int err;

	d.ns = calloc(d.want, sizeof(*d.ns));
	if (!d.ns) {
		fail("allocate", errno);
		return;
	}
	if (ring_open(&r, number(req, 0), on_record, &d))
		goto out;
	ready();
	err = ring_poll(&r, &d.got, d.want);
	ring_close(&r);
	if (!err)
		answer(d.ns, d.got);
out:
	free(d.ns);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* consume MAP WAY RECORDS: reads RECORDS records from the ring; answers ns, records, sum. */
#include "loop.h"
#include "peer.h"
#include "ring.h"

static int on_record(void *ctx, void *data, size_t len)
{
	count(ctx, data, len);
	return 0;
}

static void consume_libbpf(const struct request *req)
{
	struct tally t = {};
	struct ring r;
	uint64_t start, end;
	int err;

	if (ring_open(&r, number(req, 0), on_record, &t))
		return;
	start = now();
	err = ring_buffer__consume(r.rb);
	end = now();
	ring_close(&r);
	if (err < 0)
		fail("ring_buffer__consume", err);
	else
		answer((uint64_t[]){ end - start, t.records, t.sum }, 3);
}

static void consume_loop(const struct request *req)
{
	struct tally t = {};
	struct loop l;
	uint64_t start, end;

	if (loop_open(&l, number(req, 0)))
		return;
	start = now();
	loop_consume(&l, &t);
	end = now();
	loop_close(&l);
	answer((uint64_t[]){ end - start, t.records, t.sum }, 3);
}

void consume(const struct request *req)
{
	if (!strcmp(word(req, 1), "loop"))
		consume_loop(req);
	else
		consume_libbpf(req);
}

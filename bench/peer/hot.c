/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hot MAP WAY PROGRAM PASSES RECORDS SIZE MAX_SIZE: fills the ring on this CPU and reads it, PASSES
 * times; answers ns (of reading only), records, sum.
 */
#include <bpf/bpf.h>
#include <unistd.h>

#include "loop.h"
#include "peer.h"
#include "ring.h"

/* Mirrors struct refill_arg of load.bpf.c. */
struct refill_arg {
	uint64_t seq, end;
	uint32_t size, max_size;
};

static int on_record(void *ctx, void *data, size_t len)
{
	count(ctx, data, len);
	return 0;
}

static int refill(int prog, struct refill_arg *arg, uint64_t records)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts, .ctx_in = arg, .ctx_size_in = sizeof(*arg));
	int err;

	arg->seq = arg->end;
	arg->end += records;
	err = bpf_prog_test_run_opts(prog, &opts);
	if (err)
		fail("refill", err);
	else if (opts.retval)
		fail("refill: ring full", 0);
	return err || opts.retval;
}

/* Returns the ns of reading in all passes, or 0 after fail(). */
static uint64_t passes(const struct request *req, struct ring *r, struct loop *l, struct tally *t)
{
	struct refill_arg arg = { .size = number(req, 5), .max_size = number(req, 6) };
	uint64_t n = number(req, 3), records = number(req, 4), ns = 0, start;
	int prog = bpf_prog_get_fd_by_id(number(req, 2));

	if (prog < 0) {
		fail("open program", prog);
		return 0;
	}
	while (n--) {
		if (refill(prog, &arg, records)) {
			ns = 0;
			break;
		}
		start = now();
		if (l)
			loop_consume(l, t);
		else
			ring_buffer__consume(r->rb);
		ns += now() - start;
	}
	close(prog);
	return ns;
}

void hot(const struct request *req)
{
	struct tally t = {};
	struct ring r;
	struct loop l;
	uint64_t ns;

	if (!strcmp(word(req, 1), "loop")) {
		if (loop_open(&l, number(req, 0)))
			return;
		ns = passes(req, NULL, &l, &t);
		loop_close(&l);
	} else {
		if (ring_open(&r, number(req, 0), on_record, &t))
			return;
		ns = passes(req, &r, NULL, &t);
		ring_close(&r);
	}
	if (ns)
		answer((uint64_t[]){ ns, t.records, t.sum }, 3);
}

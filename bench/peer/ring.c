/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <errno.h>
#include <unistd.h>

#include "peer.h"
#include "ring.h"

int ring_open(struct ring *r, uint64_t map_id, ring_buffer_sample_fn fn, void *ctx)
{
	r->fd = bpf_map_get_fd_by_id(map_id);
	if (r->fd < 0) {
		fail("open map", r->fd);
		return -1;
	}
	r->rb = ring_buffer__new(r->fd, fn, ctx, NULL);
	if (!r->rb) {
		fail("ring_buffer__new", errno);
		close(r->fd);
		return -1;
	}
	return 0;
}

void ring_close(struct ring *r)
{
	ring_buffer__free(r->rb);
	close(r->fd);
}

int ring_poll(struct ring *r, const uint64_t *got, uint64_t want)
{
	uint64_t since = 0;

	while (*got < want) {
		int n = ring_buffer__poll(r->rb, PATIENCE);

		if (n < 0 && n != -EINTR) {
			fail("ring_buffer__poll", n);
			return -1;
		}
		/* epoll may report an event when the next record is still BUSY: then n is 0. */
		if (n > 0)
			since = 0;
		else if (!since)
			since = now();
		else if (now() - since > PATIENCE * 1000000ull) {
			fail("ring_buffer__poll: no record comes", 0);
			return -1;
		}
	}
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <unistd.h>

#include "peer.h"

/*
 * lookup MAP WAY LOOKUPS KEYS: looks up random keys in a hash map, twice; answers ns of the second
 * pass, lookups, and the sum of the values' first 8 bytes.
 */
void lookup(const struct request *req)
{
	uint64_t lookups = number(req, 2), keys = number(req, 3), value[8], start = 0, sum = 0, key, x;
	int fd = bpf_map_get_fd_by_id(number(req, 0)), err = 0;

	if (fd < 0) {
		fail("open map", fd);
		return;
	}
	for (int pass = 0; pass < 2 && !err; pass++) {
		x = 1;
		sum = 0;
		start = now();
		for (uint64_t i = 0; i < lookups && !err; i++) {
			x = x * 6364136223846793005ull + 1442695040888963407ull;
			key = (x >> 32) * keys >> 32;
			err = bpf_map_lookup_elem(fd, &key, value);
			sum += value[0];
		}
	}
	if (err)
		fail("look up", err);
	else
		answer((uint64_t[]){ now() - start, lookups, sum }, 3);
	close(fd);
}

/* SPDX-License-Identifier: Apache-2.0 */
#include <bpf/bpf.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "peer.h"

/* Mirrors struct numbered of arenaset.bpf.c. */
struct numbered {
	struct numbered *next;
	uint64_t number;
};

/* Maps an arena at its fixed address, the same in every process. Returns MAP_FAILED after fail(). */
static void *map_arena(uint64_t id, uint64_t *size)
{
	int fd = bpf_map_get_fd_by_id(id), err;
	struct bpf_map_info info = {};
	__u32 info_len = sizeof(info);
	void *mem;

	if (fd < 0) {
		fail("open arena", fd);
		return MAP_FAILED;
	}
	err = bpf_obj_get_info_by_fd(fd, &info, &info_len);
	if (err) {
		fail("arena info", err);
		close(fd);
		return MAP_FAILED;
	}
	*size = (uint64_t)info.max_entries * sysconf(_SC_PAGESIZE);
	mem = mmap((void *)info.map_extra, *size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE, fd, 0);
	if (mem == MAP_FAILED)
		fail("map arena", errno);
	close(fd);
	return mem;
}

/*
 * arenalist MAP WAY LIST: walks the list at address LIST of the arena twice; answers ns of the
 * second walk, the number of nodes, and the sum of their numbers.
 */
void arenalist(const struct request *req)
{
	uint64_t size, start = 0, nodes = 0, sum = 0;
	const uint64_t *list = (const uint64_t *)number(req, 2);
	void *mem = map_arena(number(req, 0), &size);

	if (mem == MAP_FAILED)
		return;
	for (int pass = 0; pass < 2; pass++) {
		/* The list head has the lower 32 bits of the first node's address; see struct arena_list. */
		const struct numbered *n =
			(const void *)(((uintptr_t)mem & 0xffffffff00000000ull) | (uint32_t)*list);

		nodes = sum = 0;
		start = now();
		for (; n; n = n->next) {
			nodes++;
			sum += n->number;
		}
	}
	answer((uint64_t[]){ now() - start, nodes, sum }, 3);
	munmap(mem, size);
}

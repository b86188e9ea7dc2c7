/* SPDX-License-Identifier: Apache-2.0 */
#include "loop.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#define HEADER 8
#define BUSY (1u << 31)
#define DISCARD (1u << 30)
#define AHEAD 512

int loop_open(struct loop *l, uint64_t map_id)
{
	struct bpf_map_info info = {};
	__u32 info_len = sizeof(info);
	int err, fd;

	fd = bpf_map_get_fd_by_id(map_id);
	if (fd < 0) {
		fail("open map", fd);
		return -1;
	}
	err = bpf_obj_get_info_by_fd(fd, &info, &info_len);
	if (err) {
		fail("map info", err);
		close(fd);
		return -1;
	}
	l->size = info.max_entries;
	l->page = sysconf(_SC_PAGESIZE);
	l->consumer_pos = mmap(NULL, l->page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	l->producer_pos = mmap(NULL, l->page + 2 * l->size, PROT_READ, MAP_SHARED, fd, l->page);
	l->data = (const char *)l->producer_pos + l->page;
	close(fd);
	if (l->consumer_pos == MAP_FAILED || l->producer_pos == MAP_FAILED) {
		fail("map ring", errno);
		return -1;
	}
	return 0;
}

void loop_close(struct loop *l)
{
	munmap(l->consumer_pos, l->page);
	munmap((void *)l->producer_pos, l->page + 2 * l->size);
}

/*
 * Assumes that a record is as long as the previous one and checks that later, so that the CPU can
 * load the next header before it has loaded the length of this record. If the assumption is wrong,
 * prefetches a cache line ahead. The data are mapped twice in a row, so a record never wraps.
 */
void loop_consume(struct loop *l, struct tally *t)
{
	uint64_t pos = *l->consumer_pos;
	uint64_t end = __atomic_load_n(l->producer_pos, __ATOMIC_ACQUIRE);
	const char *rec = l->data + (pos & (l->size - 1));
	const char *stop = rec + (end - pos);
	uint32_t len = 0;

	while (rec < stop) {
		uint32_t head = __atomic_load_n((const uint32_t *)rec, __ATOMIC_ACQUIRE);

		if (head & BUSY)
			break;
		if (head != len) {
			__builtin_prefetch(rec + AHEAD);
			len = head & ~DISCARD;
		}
		if (!(head & DISCARD))
			count(t, rec + HEADER, len);
		rec += (len + HEADER + 7) & ~7ull;
	}
	__atomic_store_n(l->consumer_pos, end - (stop - rec), __ATOMIC_SEQ_CST);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * userring MAP WAY PROGRAM PASSES SAMPLES SIZE: writes samples, has the program drain
 * them, and starts again; answers ns of writing and of draining. The first 8
 * bytes of a sample are its number, from 0.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "peer.h"

#define HEADER 8

/* Samples of the sizes that are asked for, so that copying one is no call. */
struct sample_16 { uint64_t seq, rest[1]; };
struct sample_64 { uint64_t seq, rest[7]; };
struct sample_256 { uint64_t seq, rest[31]; };

struct user {
	int fd, prog;
	struct user_ring_buffer *rb;
	/* of the loop */
	size_t size, page;
	const uint64_t *consumer_pos;
	uint64_t *producer_pos;
	char *data;
};

static int drained(const struct user *u)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	int err = bpf_prog_test_run_opts(u->prog, &opts);

	return err ? err : (int)opts.retval;
}

/* Each sample is reserved, filled and submitted. */
#define WRITE(SIZE)								\
static int write_libbpf_##SIZE(const struct user *u, uint64_t seq, uint64_t n)	\
{										\
	struct sample_##SIZE v = {};						\
										\
	for (uint64_t end = seq + n; seq < end; seq++) {			\
		struct sample_##SIZE *s = user_ring_buffer__reserve(u->rb, sizeof(*s)); \
										\
		if (!s)								\
			return -errno;						\
		v.seq = seq;							\
		*s = v;								\
		user_ring_buffer__submit(u->rb, s);				\
	}									\
	return 0;								\
}										\
										\
/* The floor: no more than must be stored, published once. */			\
static int write_loop_##SIZE(const struct user *u, uint64_t seq, uint64_t n)	\
{										\
	uint64_t pos = *u->producer_pos;					\
	struct sample_##SIZE v = {};						\
										\
	if (pos + n * (HEADER + SIZE) - __atomic_load_n(u->consumer_pos, __ATOMIC_ACQUIRE) > u->size) \
		return -ENOSPC;							\
	for (uint64_t end = seq + n; seq < end; seq++) {			\
		char *at = u->data + (pos & (u->size - 1));			\
										\
		*(uint64_t *)at = SIZE;						\
		v.seq = seq;							\
		*(struct sample_##SIZE *)(at + HEADER) = v;			\
		pos += HEADER + SIZE;						\
	}									\
	__atomic_store_n(u->producer_pos, pos, __ATOMIC_RELEASE);		\
	return 0;								\
}

WRITE(16)
WRITE(64)
WRITE(256)

typedef int (*write_fn)(const struct user *u, uint64_t seq, uint64_t n);

static write_fn writer(const char *way, uint64_t size)
{
	int loop = !strcmp(way, "loop");

	switch (size) {
	case 16:
		return loop ? write_loop_16 : write_libbpf_16;
	case 64:
		return loop ? write_loop_64 : write_libbpf_64;
	case 256:
		return loop ? write_loop_256 : write_libbpf_256;
	}
	return NULL;
}

/* Returns 0 or, after fail(), -1; user_close() either way. */
static int user_open(struct user *u, uint64_t map_id, uint64_t prog_id)
{
	struct bpf_map_info info = {};
	__u32 info_len = sizeof(info);
	int err;

	u->fd = bpf_map_get_fd_by_id(map_id);
	u->prog = bpf_prog_get_fd_by_id(prog_id);
	if (u->fd < 0 || u->prog < 0) {
		fail("open map or program", u->fd < 0 ? u->fd : u->prog);
		return -1;
	}
	err = bpf_obj_get_info_by_fd(u->fd, &info, &info_len);
	if (err) {
		fail("map info", err);
		return -1;
	}
	u->rb = user_ring_buffer__new(u->fd, NULL);
	if (!u->rb) {
		fail("user_ring_buffer__new", errno);
		return -1;
	}
	u->size = info.max_entries;
	u->page = sysconf(_SC_PAGESIZE);
	u->consumer_pos = mmap(NULL, u->page, PROT_READ, MAP_SHARED, u->fd, 0);
	u->producer_pos = mmap(NULL, u->page + 2 * u->size, PROT_READ | PROT_WRITE, MAP_SHARED, u->fd, u->page);
	if (u->consumer_pos == MAP_FAILED || u->producer_pos == MAP_FAILED) {
		fail("map ring", errno);
		return -1;
	}
	u->data = (char *)u->producer_pos + u->page;
	return 0;
}

static void user_close(struct user *u)
{
	if (u->consumer_pos && u->consumer_pos != MAP_FAILED)
		munmap((void *)u->consumer_pos, u->page);
	if (u->producer_pos && u->producer_pos != MAP_FAILED)
		munmap(u->producer_pos, u->page + 2 * u->size);
	user_ring_buffer__free(u->rb);
	if (u->prog >= 0)
		close(u->prog);
	if (u->fd >= 0)
		close(u->fd);
}

static void run(const struct user *u, const struct request *req)
{
	uint64_t passes = number(req, 3), n = number(req, 4), writing = 0, draining = 0;
	write_fn write = writer(word(req, 1), number(req, 5));

	if (!write) {
		fail("no such size", 0);
		return;
	}
	for (uint64_t seq = 0; seq < passes * n; seq += n) {
		uint64_t start = now(), written;
		int err = write(u, seq, n);

		written = now();
		if (err) {
			fail("write", err);
			return;
		}
		err = drained(u);
		if (err != (int)n) {
			fail("drain", err < 0 ? err : EIO);
			return;
		}
		writing += written - start;
		draining += now() - written;
	}
	answer((uint64_t[]){ writing, draining }, 2);
}

void userring(const struct request *req)
{
	struct user u = { .fd = -1, .prog = -1 };

	if (!user_open(&u, number(req, 0), number(req, 2)))
		run(&u, req);
	user_close(&u);
}

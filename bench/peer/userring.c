/* SPDX-License-Identifier: Apache-2.0 */
/*
 * userring MAP WAY PROGRAM PASSES SAMPLES SIZE: in each pass, writes samples and runs the program,
 * which drains them; answers ns of writing and ns of draining. The first 8 bytes of a sample are
 * its number, from 0.
 *
 * tokernel MAP WAY PASSES SAMPLES: in each pass, writes samples of 64 bytes as values of an array
 * map or into a pipe; answers ns.
 */
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "peer.h"

#define HEADER 8

/* Samples of the measured sizes. Their sizes are constants, so the compiler copies them inline. */
struct sample_16 { uint64_t seq, rest[1]; };
struct sample_64 { uint64_t seq, rest[7]; };
struct sample_256 { uint64_t seq, rest[31]; };

struct user {
	int fd, prog;
	struct user_ring_buffer *rb;
	/* used by the ways "loop" and "locked", which do without libbpf */
	size_t size, page;
	const uint64_t *consumer_pos;
	uint64_t *producer_pos;
	char *data;
	uint64_t lock;
};

static int drained(const struct user *u)
{
	LIBBPF_OPTS(bpf_test_run_opts, opts);
	int err = bpf_prog_test_run_opts(u->prog, &opts);

	return err ? err : (int)opts.retval;
}

/* The ways of writing, for one size of sample. libbpf reserves, fills and submits each sample. */
#define WRITE(SIZE)								\
static int write_libbpf_##SIZE(struct user *u, uint64_t seq, uint64_t n)	\
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
/* The floor: only the necessary stores; stores producer_pos once. */		\
static int write_loop_##SIZE(struct user *u, uint64_t seq, uint64_t n)	\
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
}										\
										\
/*										\
 * The floor of a ring for many threads: takes a lock to reserve a sample, and	\
 * commits it by compare-and-exchange, so that a second commit would fail.	\
 */										\
static int write_locked_##SIZE(struct user *u, uint64_t seq, uint64_t n)	\
{										\
	uint64_t limit = __atomic_load_n(u->consumer_pos, __ATOMIC_ACQUIRE) + u->size; \
	struct sample_##SIZE v = {};						\
										\
	for (uint64_t end = seq + n; seq < end; seq++) {			\
		uint64_t pos, busy, none = 0;					\
		char *at;							\
										\
		if (!__atomic_compare_exchange_n(&u->lock, &none, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) \
			return -EBUSY;						\
		pos = *u->producer_pos;						\
		if (limit - pos < HEADER + SIZE)				\
			return -ENOSPC;						\
		at = u->data + (pos & (u->size - 1));				\
		busy = pos << 29 | BPF_RINGBUF_BUSY_BIT | SIZE;			\
		*(uint64_t *)at = busy;						\
		__atomic_store_n(u->producer_pos, pos + HEADER + SIZE, __ATOMIC_RELEASE); \
		__atomic_store_n(&u->lock, 0, __ATOMIC_RELEASE);		\
		v.seq = seq;							\
		*(struct sample_##SIZE *)(at + HEADER) = v;			\
		if (!__atomic_compare_exchange_n((uint64_t *)at, &busy, pos << 29 | SIZE, 0, \
						 __ATOMIC_RELEASE, __ATOMIC_RELAXED)) \
			return -EINVAL;						\
	}									\
	return 0;								\
}

WRITE(16)
WRITE(64)
WRITE(256)

typedef int (*write_fn)(struct user *u, uint64_t seq, uint64_t n);

#define WRITERS(SIZE) { write_libbpf_##SIZE, write_loop_##SIZE, write_locked_##SIZE }

static write_fn writer(const char *way, uint64_t size)
{
	static const write_fn of_16[] = WRITERS(16), of_64[] = WRITERS(64), of_256[] = WRITERS(256);
	int i = !strcmp(way, "loop") ? 1 : !strcmp(way, "locked") ? 2 : 0;

	switch (size) {
	case 16:
		return of_16[i];
	case 64:
		return of_64[i];
	case 256:
		return of_256[i];
	}
	return NULL;
}

/* Returns 0 or, after fail(), -1. The caller calls user_close() in both cases. */
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

static void run(struct user *u, const struct request *req)
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

/* The state of tokernel. */
struct other {
	int fd, pipe[2];
	uint32_t *keys;
	struct sample_64 *values;
};

static int by_update(const struct other *o, uint64_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		int err = bpf_map_update_elem(o->fd, &i, &o->values[i], BPF_ANY);

		if (err)
			return err;
	}
	return 0;
}

static int by_batch(const struct other *o, uint64_t n)
{
	LIBBPF_OPTS(bpf_map_batch_opts, opts);
	uint32_t count = n;

	return bpf_map_update_batch(o->fd, o->keys, o->values, &count, &opts);
}

/* Writes n samples to a pipe, which holds 64 KiB: reads it each time it is half full. */
static int by_pipe(const struct other *o, uint64_t n)
{
	struct sample_64 back[512];

	for (uint64_t i = 0; i < n; i++) {
		if (write(o->pipe[1], &o->values[i], sizeof(o->values[i])) != sizeof(o->values[i]))
			return -errno;
		if (i % 512 == 511 && read(o->pipe[0], back, sizeof(back)) != sizeof(back))
			return -EIO;
	}
	return 0;
}

static void run_other(const struct other *o, const struct request *req)
{
	int (*way)(const struct other *o, uint64_t n) = by_update;
	uint64_t passes = number(req, 2), n = number(req, 3), start;

	if (!strcmp(word(req, 1), "batch"))
		way = by_batch;
	else if (!strcmp(word(req, 1), "pipe"))
		way = by_pipe;
	start = now();
	for (uint64_t seq = 0; seq < passes * n; seq += n) {
		int err;

		for (uint64_t i = 0; i < n; i++)
			o->values[i].seq = seq + i;
		err = way(o, n);
		if (err) {
			fail(word(req, 1), err);
			return;
		}
	}
	answer((uint64_t[]){ now() - start }, 1);
}

void tokernel(const struct request *req)
{
	uint64_t n = number(req, 3);
	struct other o = {
		.fd = bpf_map_get_fd_by_id(number(req, 0)),
		.keys = calloc(n, sizeof(*o.keys)),
		.values = calloc(n, sizeof(*o.values)),
	};

	for (uint64_t i = 0; o.keys && i < n; i++)
		o.keys[i] = i;
	if (!o.keys || !o.values || o.fd < 0 || pipe(o.pipe))
		fail("open map and pipe", errno);
	else
		run_other(&o, req);
	close(o.fd);
	close(o.pipe[0]);
	close(o.pipe[1]);
	free(o.keys);
	free(o.values);
}

//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Programs that use an arena's heap, lists, queues and tables many times in a run. They serve tests, and
 * are examples of how to use the headers.
 *
 * Each program takes the address of its job in the arena, so that programs of all types have the same
 * context.
 */
#include "arena_heap.h"
#include "arena_list.h"
#include "arena_queue.h"
#include "arena_table.h"

ARENA_DEFINE();

struct job {
	__u64 on;    /* address of the list, table or queue */
	__u64 count; /* number of operations to do */
	__u64 done;  /* operations done so far: user space runs the program until done is count */
	__u64 keys;  /* number of counters, and of other keys */
	__u64 seed;

	/* results */
	__u64 added;    /* increments of counters */
	__u64 inserted;
	__u64 deleted;
	__u64 found;
	__u64 absent;
	__u64 torn;
	__u64 full; /* allocations that found no memory in present pages */
	__u64 failed;
	__u64 sum;
};

struct context {
	__u64 job;
};

/* A node of a list. */
struct numbered {
	struct arena_link link;
	__u64 number;
};

static __arena_fn __u64 next_random(struct job __arena *job)
{
	__u64 x = job->seed;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	job->seed = x;
	return x * 0x2545f4914f6cdd1dULL >> 32;
}

/* Pushes nodes, numbered from job->done on, to a list. */
SEC("syscall")
int list_build(struct context *ctx)
{
	struct job __arena *job = (struct job __arena *)ctx->job;
	struct numbered __arena *n;

	arena_use();
	while (job->done < job->count && arena_can_loop) {
		n = arena_alloc(sizeof(*n));
		if (!n) {
			if (arena_grow(sizeof(*n))) {
				job->full++;
				return 0;
			}
			continue;
		}
		n->number = job->done;
		if (arena_list_push((struct arena_list __arena *)job->on, &n->link)) {
			arena_free(n);
			return 0;
		}
		job->done++;
	}
	return 0;
}

/* Pops nodes from a list and frees them. */
SEC("syscall")
int list_free(struct context *ctx)
{
	struct job __arena *job = (struct job __arena *)ctx->job;
	struct numbered __arena *n;

	arena_use();
	while (job->done < job->count && arena_can_loop) {
		n = (struct numbered __arena *)arena_list_pop((struct arena_list __arena *)job->on);
		if (!n)
			return 0;
		job->sum += n->number;
		if (arena_free(n))
			job->failed++;
		job->done++;
	}
	return 0;
}

/* Allocates and frees blocks of all sizes up to 4 KiB. */
SEC("syscall")
int heap_storm(struct context *ctx)
{
	struct job __arena *job = (struct job __arena *)ctx->job;
	__u64 __arena *p;
	__u64 size;

	arena_use();
	while (job->done < job->count && arena_can_loop) {
		size = 8 + (next_random(job) & 4095);
		p = arena_alloc(size);
		if (!p && !arena_grow(size))
			p = arena_alloc(size);
		job->done++;
		if (!p) {
			job->full++;
			continue;
		}
		*p = (__u64)p ^ job->seed;
		if (*p != ((__u64)p ^ job->seed))
			job->torn++;
		if (arena_free(p))
			job->failed++;
		job->inserted++;
	}
	return 0;
}

/* Puts blocks with the numbers from job->done on into a queue. */
SEC("syscall")
int queue_put(struct context *ctx)
{
	struct job __arena *job = (struct job __arena *)ctx->job;
	__u64 __arena *p;

	arena_use();
	while (job->done < job->count && arena_can_loop) {
		p = arena_alloc(16);
		if (!p) {
			if (arena_grow(16)) {
				job->full++;
				return 0;
			}
			continue;
		}
		p[0] = job->seed;
		p[1] = job->done;
		if (arena_queue_put((struct arena_queue __arena *)job->on, arena_ref(p))) {
			arena_free(p);
			return 0;
		}
		job->done++;
	}
	return 0;
}

/* Takes blocks from a queue, adds up their numbers and frees them. */
SEC("syscall")
int queue_take(struct context *ctx)
{
	struct job __arena *job = (struct job __arena *)ctx->job;
	__u64 __arena *p;
	__u64 ref = 0;

	arena_use();
	while (job->done < job->count && arena_can_loop) {
		if (arena_queue_take((struct arena_queue __arena *)job->on, &ref))
			return 0;
		p = arena_ptr(ref);
		job->sum += p[1];
		if (arena_free(p))
			job->failed++;
		job->done++;
	}
	return 0;
}

#define KEY_WORDS 1
#define VALUE_WORDS 8

static __always_inline __u64 checksum(const __u64 *value)
{
	__u64 sum = 1;

	for (int i = 0; i < VALUE_WORDS - 1; i++)
		sum = (sum ^ value[i]) * 0x9e3779b97f4a7c15ULL;
	return sum;
}

/* Increments the first word, and computes the others from it. */
static __always_inline void increment(__u64 __arena *value, void *ctx)
{
	__u64 new[VALUE_WORDS];

	new[0] = ARENA_READ(value[0]) + 1;
	for (int i = 1; i < VALUE_WORDS - 1; i++)
		new[i] = new[0] * i;
	new[VALUE_WORDS - 1] = checksum(new);
	for (int i = 0; i < VALUE_WORDS; i++)
		ARENA_WRITE(value[i], new[i]);
}

/*
 * Increments the counters, which are the keys below job->keys, inserts and deletes the next job->keys keys,
 * and looks up all keys.
 */
static __always_inline int storm(struct job __arena *job, bool may_grow)
{
	struct arena_table __arena *t = (struct arena_table __arena *)job->on;
	__u64 key, value[VALUE_WORDS] = {}, random;
	int err;

	arena_use();
	while (job->done < job->count && arena_can_loop) {
		random = next_random(job);
		key = random % (2 * job->keys);
		switch (random >> 28 & 3) {
		case 0:
		case 1:
			err = arena_table_get(t, &key, KEY_WORDS, value, VALUE_WORDS);
			if (!err) {
				job->found++;
				if (value[VALUE_WORDS - 1] != checksum(value))
					job->torn++;
			} else if (err == -ENOENT) {
				job->absent++;
				err = 0;
			}
			break;
		case 2:
			key %= job->keys;
			err = arena_table_change(t, &key, KEY_WORDS, VALUE_WORDS, ARENA_ANY, increment, NULL);
			if (!err)
				job->added++;
			break;
		default:
			key = key % job->keys + job->keys;
			if (random >> 27 & 1) {
				err = arena_table_change(t, &key, KEY_WORDS, VALUE_WORDS, ARENA_NOEXIST, increment,
							 NULL);
				if (!err)
					job->inserted++;
				else if (err == -EEXIST)
					err = 0;
			} else {
				err = arena_table_delete(t, &key, KEY_WORDS, VALUE_WORDS);
				if (!err)
					job->deleted++;
				else if (err == -ENOENT)
					err = 0;
			}
		}
		if (err == -ENOMEM) {
			job->full++;
			if (may_grow)
				arena_grow(4096);
			else
				return 0;
		} else if (err) {
			job->failed++;
			job->sum = err;
		}
		job->done++;
	}
	return 0;
}

SEC("syscall")
int table_storm(struct context *ctx)
{
	return storm((struct job __arena *)ctx->job, true);
}

/* The program cannot sleep, and therefore cannot allocate pages. */
SEC("raw_tp")
int table_storm_tp(struct context *ctx)
{
	return storm((struct job __arena *)ctx->job, false);
}

/*
 * Uses up arena_can_loop first. After that, a lookup of a present key may fail with -EAGAIN, but not with
 * -ENOENT, and replaced nodes are freed.
 */
SEC("syscall")
int table_exhausted(struct context *ctx)
{
	struct job __arena *job = (struct job __arena *)ctx->job;
	struct arena_table __arena *t = (struct arena_table __arena *)job->on;
	__u64 key = 1, value[VALUE_WORDS] = {};
	int err;

	arena_use();
	while (arena_can_loop)
		job->added++;
	err = arena_table_get(t, &key, KEY_WORDS, value, VALUE_WORDS);
	if (err == -ENOENT)
		job->absent++;
	else if (err == -EAGAIN)
		job->full++;
	else if (!err)
		job->found++;
	err = arena_table_change(t, &key, KEY_WORDS, VALUE_WORDS, ARENA_NOEXIST, increment, NULL);
	if (!err)
		job->inserted++;
	err = arena_table_change(t, &key, KEY_WORDS, VALUE_WORDS, ARENA_ANY, increment, NULL);
	if (err && err != -EAGAIN)
		job->failed++;
	job->done = job->count;
	return 0;
}

/* Keeps these types in the BTF, for the test of the Go mirrors. keep_layouts is never called. */
struct layouts {
	struct job job;
	struct context context;
	struct arena_super super;
	struct arena_class class;
	struct arena_root root;
	struct arena_list list;
	struct arena_table table;
	struct arena_queue *queue;
	struct arena_node node;
};

int keep_layouts(struct layouts *layouts)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

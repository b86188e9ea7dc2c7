//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Report the positions of every ring and the address of every arena, and which other maps
 * are maps of maps or perf event arrays: an iterator over all maps (kernel/bpf/map_iter.c),
 * which needs no descriptor or mapping of any map.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define NAME_LEN 16 /* BPF_OBJ_NAME_LEN */

/* Maximum number of attempts to read a ring's positions without the consumer moving
 * meanwhile. */
#define TRIES 8

/* The members that the program uses of the kernel's types. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

enum bpf_map_type {
	BPF_MAP_TYPE_UNSPEC,
};

typedef struct {
	__s64 counter;
} atomic64_t;

struct bpf_map {
	enum bpf_map_type map_type;
	__u32 max_entries;
	__u64 map_extra;
	__u32 map_flags;
	__u32 id;
	char name[NAME_LEN];
	atomic64_t refcnt;
	atomic64_t writecnt;
};

/* kernel/bpf/ringbuf.c */
struct bpf_ringbuf {
	__u64 mask;
	int nr_pages;
	unsigned long consumer_pos;
	unsigned long producer_pos;
	unsigned long pending_pos;
	unsigned long overwrite_pos;
	char data[];
};

struct bpf_ringbuf_map {
	struct bpf_ringbuf *rb;
};

/* kernel/bpf/arena.c */
struct bpf_arena {
	__u64 user_vm_start;
	__u64 nr_pages;
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__bpf_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
};

#pragma clang attribute pop

/* The optional members of struct entry that are set. */
#define HAS_POSITIONS (1 << 0)
#define HAS_PENDING (1 << 1)
#define HAS_OVERWRITE (1 << 2)
#define HAS_HEADER (1 << 3)
#define HAS_ARENA (1 << 4)  /* user_vm_start */
#define HAS_PAGES (1 << 5)
#define HAS_STEADY (1 << 6) /* the consumer did not move between the loads */
#define HAS_WRITERS (1 << 7)
#define HAS_REFERENCES (1 << 8)
#define HAS_REFUSALS (1 << 9)

/* What the producers of a user ring count in the producer page: Refusals in
 * internal/ring/refusals.go. */
struct refusals {
	__u64 layout;
	__u64 samples;
	__u64 bytes;
	__u64 nanos;
};

#define REFUSALS_OFFSET 128

/* One ring or arena. Of maps of maps and perf event arrays only id and type are set. */
struct entry {
	__u32 id;
	__u32 type;
	__u32 max_entries;
	__u32 flags;
	__u64 map_extra;
	__u64 address; /* of struct bpf_map: distinguishes maps that had the same id */
	__u64 consumer_pos;
	__u64 producer_pos;
	__u64 pending_pos;
	__u64 overwrite_pos;
	__u64 user_vm_start;
	__u64 pages;
	__u64 writers; /* number of writable mappings in all processes of all namespaces */
	__u64 references; /* open files, pins, programs and maps of maps that keep the map */
	struct refusals refusals;
	__u32 known;  /* HAS_* */
	__u32 header; /* of the record at max(consumer_pos, overwrite_pos) */
	char name[NAME_LEN];
};

/* A function of its own, so that the compiler does not merge its test with others: the
 * verifier must see that the load is dead code on a kernel without the member. */
static __noinline __u64 load_overwrite_pos(struct bpf_ringbuf *rb)
{
	if (!bpf_core_field_exists(rb->overwrite_pos))
		return 0;
	return BPF_CORE_READ(rb, overwrite_pos);
}

/* Reads the positions of a ring or user ring: both are a bpf_ringbuf_map. A kernel that
 * accepts BPF_F_RB_OVERWRITE has overwrite_pos. */
static __noinline void positions(struct bpf_ringbuf *rb, struct entry *e)
{
	bool overwrites = e->flags & BPF_F_RB_OVERWRITE;
	int i;

	for (i = 0; i < TRIES; i++) {
		/* Load consumer_pos first, so that the other positions are not behind it, and
		 * overwrite_pos before producer_pos, the order in which the kernel stores them. */
		e->consumer_pos = BPF_CORE_READ(rb, consumer_pos);
		if (overwrites)
			e->overwrite_pos = load_overwrite_pos(rb);
		e->producer_pos = BPF_CORE_READ(rb, producer_pos);
		if (BPF_CORE_READ(rb, consumer_pos) == e->consumer_pos) {
			e->known |= HAS_STEADY;
			break;
		}
	}
	e->known |= HAS_POSITIONS;
	if (overwrites)
		e->known |= HAS_OVERWRITE;
	if (bpf_core_field_exists(rb->pending_pos)) {
		e->pending_pos = BPF_CORE_READ(rb, pending_pos);
		if (e->type == BPF_MAP_TYPE_RINGBUF)
			e->known |= HAS_PENDING;
	}
}

/* Reads the header of the oldest record, if there is a record. */
static __always_inline void header(struct bpf_ringbuf *rb, struct entry *e)
{
	__u64 pos = e->consumer_pos;
	__u64 mask = BPF_CORE_READ(rb, mask);
	void *data = (void *)rb + bpf_core_field_offset(struct bpf_ringbuf, data);

	if ((e->known & HAS_OVERWRITE) && (__s64)(e->overwrite_pos - pos) > 0)
		pos = e->overwrite_pos;
	/* A process can write any value to consumer_pos, and to producer_pos of a user ring.
	 * The mask keeps the access within the data. */
	if (pos % 8 || e->producer_pos - pos < 8 || e->producer_pos - pos > mask + 1)
		return;
	if (bpf_probe_read_kernel(&e->header, sizeof(e->header), data + (pos & mask)))
		return;
	/* If the record was consumed or overwritten meanwhile, this may not be its header. */
	if (BPF_CORE_READ(rb, consumer_pos) != e->consumer_pos)
		return;
	if ((e->known & HAS_OVERWRITE) && load_overwrite_pos(rb) != e->overwrite_pos)
		return;
	e->known |= HAS_HEADER;
}

/* Reads the words that the producers of a user ring write. */
static __always_inline void refusals(struct bpf_ringbuf *rb, struct entry *e)
{
	void *page = (void *)rb + bpf_core_field_offset(struct bpf_ringbuf, producer_pos);

	if (!bpf_probe_read_kernel(&e->refusals, sizeof(e->refusals), page + REFUSALS_OFFSET))
		e->known |= HAS_REFUSALS;
}

SEC("iter/bpf_map")
int rings(struct bpf_iter__bpf_map *ctx)
{
	struct bpf_map *map = ctx->map;
	struct entry e = {};

	if (!map)
		return 0;
	e.type = map->map_type;
	e.id = map->id;
	switch (e.type) {
	case BPF_MAP_TYPE_ARRAY_OF_MAPS:
	case BPF_MAP_TYPE_HASH_OF_MAPS:
	case BPF_MAP_TYPE_PERF_EVENT_ARRAY:
		bpf_seq_write(ctx->meta->seq, &e, sizeof(e));
		return 0;
	case BPF_MAP_TYPE_RINGBUF:
	case BPF_MAP_TYPE_USER_RINGBUF:
	case BPF_MAP_TYPE_ARENA:
		break;
	default:
		return 0;
	}
	e.max_entries = map->max_entries;
	e.flags = map->map_flags;
	if (bpf_core_field_exists(map->map_extra))
		e.map_extra = BPF_CORE_READ(map, map_extra);
	e.address = (__u64)map;
	/* bpf_map_mmap, bpf_map_mmap_open and bpf_map_mmap_close in kernel/bpf/syscall.c
	 * count mappings that are writable or may be made so. */
	if (bpf_core_field_exists(map->writecnt)) {
		e.writers = BPF_CORE_READ(map, writecnt.counter);
		e.known |= HAS_WRITERS;
	}
	if (bpf_core_field_exists(map->refcnt)) {
		/* One reference is the iterator's own (bpf_map_get_curr_or_next). */
		e.references = BPF_CORE_READ(map, refcnt.counter) - 1;
		e.known |= HAS_REFERENCES;
	}
	bpf_core_read_str(e.name, sizeof(e.name), &map->name);

	/* struct bpf_map is the first member of struct bpf_arena and struct bpf_ringbuf_map. */
	if (e.type == BPF_MAP_TYPE_ARENA) {
		struct bpf_arena *arena = (void *)map;

		if (bpf_core_field_exists(arena->user_vm_start)) {
			e.user_vm_start = BPF_CORE_READ(arena, user_vm_start);
			e.known |= HAS_ARENA;
		}
		if (bpf_core_field_exists(arena->nr_pages)) {
			e.pages = BPF_CORE_READ(arena, nr_pages);
			e.known |= HAS_PAGES;
		}
	} else {
		struct bpf_ringbuf_map *ring_map = (void *)map;
		struct bpf_ringbuf *rb = BPF_CORE_READ(ring_map, rb);

		if (rb) {
			e.pages = BPF_CORE_READ(rb, nr_pages);
			e.known |= HAS_PAGES;
			positions(rb, &e);
			header(rb, &e);
			if (e.type == BPF_MAP_TYPE_USER_RINGBUF)
				refusals(rb, &e);
		}
	}
	bpf_seq_write(ctx->meta->seq, &e, sizeof(e));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

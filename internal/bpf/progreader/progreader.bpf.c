//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * Report all programs and maps: iterators over them (kernel/bpf/prog_iter.c, map_iter.c), which need no
 * descriptor. They tell where the kernel keeps instructions, lines and BTF; copy reads these.
 */
#include "kernel.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#define BPF_MAP_TYPE_ARRAY_OF_MAPS 12 /* enum bpf_map_type */
#define BPF_MAP_TYPE_HASH_OF_MAPS 13

#define NAME_LEN 16  /* BPF_OBJ_NAME_LEN */
#define TAG_SIZE 8   /* BPF_TAG_SIZE */
#define USED_MAPS 64 /* MAX_USED_MAPS */
#define WINDOW (64 << 10)

/* The members that the program uses of the kernel's types. */
#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

enum bpf_map_type {
	BPF_MAP_TYPE_UNSPEC,
};

/* kernel/bpf/hashtab.c */
struct htab_elem {
	char key[1];
};

struct bpf_htab {
	void *elems; /* NULL unless they are preallocated */
	__u32 elem_size;
};

enum bpf_prog_type {
	BPF_PROG_TYPE_UNSPEC,
};

struct btf {
	void *data;
	__u32 data_size;
	__u32 id;
};

struct bpf_map {
	enum bpf_map_type map_type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 id;
	__u32 btf_key_type_id;
	__u32 btf_value_type_id;
	struct btf *btf;
	char name[NAME_LEN];
};

struct bpf_array {
	char value[1];
};

struct bpf_insn {
	__u64 raw;
};

struct bpf_prog_aux {
	__u32 used_map_cnt;
	__u32 id;
	__u32 func_info_cnt;
	__u32 nr_linfo;
	__u64 load_time;
	struct btf *btf;
	struct bpf_map **used_maps;
	void *func_info;
	void *linfo;
	char name[NAME_LEN];
};

struct bpf_prog {
	__u32 len;
	enum bpf_prog_type type;
	__u8 tag[TAG_SIZE];
	struct bpf_prog_aux *aux;
	struct bpf_insn insnsi[1];
};

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
};

struct bpf_iter__bpf_prog {
	struct bpf_iter_meta *meta;
	struct bpf_prog *prog;
};

struct bpf_iter__bpf_map {
	struct bpf_iter_meta *meta;
	struct bpf_map *map;
};

#pragma clang attribute pop

/* Memory of the kernel. */
struct range {
	__u64 addr;
	__u32 count; /* of bytes or records */
	__u32 id;    /* of BTF */
};

struct prog_entry {
	__u32 id;
	__u32 type;
	__u64 load_time; /* ns since boot */
	struct range insns, lines, funcs, btf;
	__u32 maps; /* how many of map_ids */
	__u32 map_ids[USED_MAPS];
	__u8 tag[TAG_SIZE];
	char name[NAME_LEN];
};

struct map_entry {
	__u32 id;
	__u32 type;
	__u32 key_size;
	__u32 value_size;
	__u32 max_entries;
	__u32 key_type;   /* in the BTF */
	__u32 value_type; /* in the BTF */
	__u32 stride; /* bytes from a value to the next */
	__u64 addr;   /* of struct bpf_map */
	__u64 values; /* of the first value of an array, array of maps or hash of maps; 0 if unknown */
	struct range btf;
	char name[NAME_LEN];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct prog_entry);
} prog_scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct map_entry);
} map_scratch SEC(".maps");

static void btf_range(struct range *r, struct btf *btf)
{
	r->addr = (__u64)BPF_CORE_READ(btf, data);
	r->count = BPF_CORE_READ(btf, data_size);
	r->id = BPF_CORE_READ(btf, id);
}

SEC("iter/bpf_prog")
int programs(struct bpf_iter__bpf_prog *ctx)
{
	struct bpf_prog *prog = ctx->prog;
	struct bpf_prog_aux *aux;
	struct bpf_map **maps, *map;
	struct prog_entry *e;
	__u32 zero = 0, i;

	e = bpf_map_lookup_elem(&prog_scratch, &zero);
	if (!prog || !e)
		return 0;
	aux = BPF_CORE_READ(prog, aux);
	e->id = BPF_CORE_READ(aux, id);
	e->type = BPF_CORE_READ(prog, type);
	e->load_time = BPF_CORE_READ(aux, load_time);
	e->insns.addr = (__u64)&prog->insnsi;
	e->insns.count = BPF_CORE_READ(prog, len);
	e->lines.addr = (__u64)BPF_CORE_READ(aux, linfo);
	e->lines.count = BPF_CORE_READ(aux, nr_linfo);
	e->funcs.addr = (__u64)BPF_CORE_READ(aux, func_info);
	e->funcs.count = BPF_CORE_READ(aux, func_info_cnt);
	btf_range(&e->btf, BPF_CORE_READ(aux, btf));
	BPF_CORE_READ_INTO(&e->tag, prog, tag);
	BPF_CORE_READ_INTO(&e->name, aux, name);
	e->maps = BPF_CORE_READ(aux, used_map_cnt);
	maps = BPF_CORE_READ(aux, used_maps);
	for (i = 0; i < USED_MAPS; i++) {
		e->map_ids[i] = 0;
		if (i < e->maps && !bpf_probe_read_kernel(&map, sizeof(map), maps + i))
			e->map_ids[i] = BPF_CORE_READ(map, id);
	}
	bpf_seq_write(ctx->meta->seq, e, sizeof(*e));
	return 0;
}

/* Tells where the values are. The value of a map of maps is a pointer to a map. */
static void place_values(struct map_entry *e, struct bpf_map *map)
{
	struct bpf_htab *htab = (struct bpf_htab *)map;
	__u64 elems;

	e->values = 0;
	e->stride = 8;
	switch (e->type) {
	case BPF_MAP_TYPE_ARRAY:
	case BPF_MAP_TYPE_ARRAY_OF_MAPS:
		e->values = (__u64)&((struct bpf_array *)map)->value;
		break;
	case BPF_MAP_TYPE_HASH_OF_MAPS:
		elems = (__u64)BPF_CORE_READ(htab, elems);
		if (!elems)
			break;
		e->stride = BPF_CORE_READ(htab, elem_size);
		e->values = (__u64)&((struct htab_elem *)elems)->key + ((e->key_size + 7) & ~7u);
	}
}

SEC("iter/bpf_map")
int maps(struct bpf_iter__bpf_map *ctx)
{
	struct bpf_map *map = ctx->map;
	struct map_entry *e;
	__u32 zero = 0;

	e = bpf_map_lookup_elem(&map_scratch, &zero);
	if (!map || !e)
		return 0;
	e->id = BPF_CORE_READ(map, id);
	e->type = BPF_CORE_READ(map, map_type);
	e->key_size = BPF_CORE_READ(map, key_size);
	e->value_size = BPF_CORE_READ(map, value_size);
	e->max_entries = BPF_CORE_READ(map, max_entries);
	e->key_type = BPF_CORE_READ(map, btf_key_type_id);
	e->value_type = BPF_CORE_READ(map, btf_value_type_id);
	e->addr = (__u64)map;
	place_values(e, map);
	btf_range(&e->btf, BPF_CORE_READ(map, btf));
	BPF_CORE_READ_INTO(&e->name, map, name);
	bpf_seq_write(ctx->meta->seq, e, sizeof(*e));
	return 0;
}

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct range);
} wanted SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__uint(value_size, WINDOW);
} window SEC(".maps");

/* Copies the wanted bytes, at most WINDOW, into the window. It returns 0 or a negative error. */
SEC("raw_tp")
int copy(void *ctx)
{
	__u32 zero = 0;
	struct range *r = bpf_map_lookup_elem(&wanted, &zero);
	char *to = bpf_map_lookup_elem(&window, &zero);

	if (!r || !to || r->count > WINDOW)
		return -1;
	return bpf_probe_read_kernel(to, r->count, (void *)r->addr);
}

char LICENSE[] SEC("license") = "GPL";

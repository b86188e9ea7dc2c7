/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
#ifndef RBTOOL_ARENA_TABLE_H
#define RBTOOL_ARENA_TABLE_H

#include "arena_heap.h"

/*
 * A hash table with keys and values of fixed sizes, which any number of programs and processes read and
 * change at once. arena/container/table.go is the same in Go, and documents why it is correct.
 *
 * key_words and value_words are the sizes of a key and a value in words of 8 bytes, constants of the
 * program. arena_table_open compares them with the sizes of the table.
 */

#define ARENA_KIND_TABLE 2

struct arena_table {
	__u32 key_size; /* bytes; zeros pad the last word */
	__u32 value_size;
	__u32 bits; /* log2 of the number of buckets */
	__u32 buckets; /* reference to the buckets, each: reference to its first node | tag << 32 */
	__u64 seed;
	__u64 count; /* number of keys */
};

/* Constant while it is in the table. */
struct arena_node {
	__u32 next; /* reference to the next node of the bucket, or 0 */
	__u32 hash; /* upper half of the key's hash */
	__u64 words[]; /* the key, then the value */
};

#define ARENA_ANY 0
#define ARENA_NOEXIST 1
#define ARENA_EXIST 2

#define ARENA_MAX_CHAIN 4096
#define ARENA_GAVE_UP 0xffffffff /* depth from arena_find if arena_can_loop is used up */

static __always_inline __u32 arena_words(__u32 bytes)
{
	return (bytes + 7) / 8;
}

/* Returns the table of a root, or NULL if there is none or its sizes differ. */
static __always_inline struct arena_table __arena *arena_table_open(__u32 root, __u32 key_words, __u32 value_words)
{
	struct arena_table __arena *t = arena_root_at(root, ARENA_KIND_TABLE);

	if (!t || arena_words(t->key_size) != key_words || arena_words(t->value_size) != value_words)
		return NULL;
	return t;
}

static __always_inline __u64 arena_hash(__u64 seed, const __u64 *key, __u32 words)
{
	__u64 hash = seed;

	for (__u32 i = 0; i < words; i++) {
		hash = (hash ^ key[i]) * 0x9e3779b97f4a7c15ULL;
		hash ^= hash >> 32;
	}
	hash *= 0xd6e8feb86659fd93ULL;
	return hash ^ hash >> 32;
}

/* Returns the error of an arena_find that found no node: 0 if the whole chain was read. */
static __always_inline int arena_chain_error(__u32 depth)
{
	if (depth == ARENA_GAVE_UP)
		return -EAGAIN;
	return depth > ARENA_MAX_CHAIN ? -ELOOP : 0;
}

static __always_inline __u64 __arena *arena_bucket(struct arena_table __arena *t, __u64 hash)
{
	__u64 mask = (1ULL << (t->bits & 31)) - 1;

	return (__u64 __arena *)arena_ptr(t->buckets) + (hash & mask);
}

/*
 * Searches for a key in the chain that starts at ref. Returns the node's reference or 0, and sets depth to
 * the number of nodes before it. The result is valid only if the bucket's word is the same afterwards.
 */
static __always_inline __u32 arena_find(__u32 ref, __u32 hash, const __u64 *key, __u32 words, __u32 *depth)
{
	struct arena_node __arena *node;
	__u64 differ;

	*depth = arena_zero;
	while (ref) {
		if (!arena_can_loop) {
			*depth = ARENA_GAVE_UP;
			break;
		}
		node = arena_ptr(ref);
		if (ARENA_READ(node->hash) == hash) {
			differ = 0;
			for (__u32 i = 0; i < words; i++)
				differ |= ARENA_READ(node->words[i]) ^ key[i];
			if (!differ)
				return ref;
		}
		if (++*depth > ARENA_MAX_CHAIN)
			break;
		ref = ARENA_READ(node->next);
	}
	return 0;
}

/*
 * Returns whether a bucket was not changed since its word, head, was loaded. If so, what was loaded from its
 * nodes in between is consistent (litmus table-lookup).
 */
static __always_inline bool arena_unchanged(__u64 __arena *bucket, __u64 head)
{
	arena_load_barrier();
	return ARENA_READ(*bucket) == head;
}

/*
 * Attempts once to copy the value of a key. Returns 0, -ENOENT, -ELOOP if the chain is too long, or
 * -EAGAIN if the bucket changed.
 */
static __always_inline int arena_table_try_get(struct arena_table __arena *t, const __u64 *key, __u32 key_words,
					       __u64 *value, __u32 value_words)
{
	__u64 hash = arena_hash(t->seed, key, key_words), head;
	__u64 __arena *bucket = arena_bucket(t, hash);
	struct arena_node __arena *node;
	__u32 ref, depth;

	arena_use();
	head = ARENA_READ(*bucket);
	ref = arena_find(head, hash >> 32, key, key_words, &depth);
	if (ref) {
		node = arena_ptr(ref);
		for (__u32 i = 0; i < value_words; i++)
			value[i] = ARENA_READ(node->words[key_words + i]);
	}
	if (!arena_unchanged(bucket, head))
		return -EAGAIN;
	if (ref)
		return 0;
	return arena_chain_error(depth) ?: -ENOENT;
}

/* Copies the value of a key. Returns 0, -ENOENT, -ELOOP or -EAGAIN. */
static __always_inline int arena_table_get(struct arena_table __arena *t, const __u64 *key, __u32 key_words,
					   __u64 *value, __u32 value_words)
{
	int err;

	do
		err = arena_table_try_get(t, key, key_words, value, value_words);
	while (err == -EAGAIN && arena_can_loop);
	return err;
}

/* Frees the first node of a chain to which no bucket leads, and returns the reference of the next node. */
static __always_inline __u32 arena_free_node(__u32 ref)
{
	struct arena_node __arena *node = arena_ptr(ref);
	__u32 next = ARENA_READ(node->next);

	arena_free(node);
	return next;
}

/* Frees the first n nodes of a chain to which no bucket leads. */
__arena_global int arena_free_nodes(__u32 ref, __u32 n)
{
	__u32 i;

	for (i = 0; i < ARENA_SURE_TRIES; i++) {
		if (!ref || i >= n)
			return 0;
		ref = arena_free_node(ref);
	}
	for (i += arena_zero; i < n && ref && arena_can_loop; i++)
		ref = arena_free_node(ref);
	return 0;
}

/*
 * Copies the n nodes from ref on, at least one, and puts the copies in front of tail in reverse order.
 * Returns the reference of the first copy, or 0 if there is no memory or arena_can_loop is used up.
 */
__arena_global __u32 arena_copy_nodes(__u32 ref, __u32 n, __u32 tail, __u32 words)
{
	struct arena_node __arena *from;
	struct arena_node __arena *copy;
	__u32 first = tail, made = arena_zero, i = 0;

	while (made < n && arena_can_loop) {
		from = arena_ptr(ref);
		copy = arena_alloc(sizeof(*copy) + 8 * words);
		if (!copy)
			break;
		ARENA_WRITE(copy->hash, ARENA_READ(from->hash));
		for (i = arena_zero; i < words && arena_can_loop; i++)
			ARENA_WRITE(copy->words[i], ARENA_READ(from->words[i]));
		ARENA_WRITE(copy->next, first);
		first = arena_ref(copy);
		ref = ARENA_READ(from->next);
		made++;
		if (i < words)
			break;
	}
	if (made == n && i == words)
		return first;
	arena_free_nodes(first, made);
	return 0;
}

/* Edits a value in a node that is not in the table yet. */
typedef void (*arena_change_fn)(__u64 __arena *value, void *ctx);

/* Returns the error of a change with these flags. ref and depth are the result of arena_find. */
static __always_inline int arena_check_flags(__u32 ref, __u32 depth, __u32 flags)
{
	if (ref)
		return flags == ARENA_NOEXIST ? -EEXIST : 0;
	return arena_chain_error(depth) ?: (flags == ARENA_EXIST ? -ENOENT : 0);
}

/* Allocates a node and sets its key. */
static __always_inline struct arena_node __arena *arena_new_node(__u64 hash, const __u64 *key, __u32 key_words,
								 __u32 value_words)
{
	struct arena_node __arena *node = arena_alloc(sizeof(*node) + 8 * (key_words + value_words));

	if (!node)
		return NULL;
	for (__u32 i = 0; i < key_words; i++)
		ARENA_WRITE(node->words[i], key[i]);
	ARENA_WRITE(node->hash, (__u32)(hash >> 32));
	return node;
}

/* Copies the value of the node ref to to, or zeros if ref is 0. */
static __always_inline void arena_copy_value(__u64 __arena *to, __u32 ref, __u32 key_words, __u32 value_words)
{
	struct arena_node __arena *old = arena_ptr(ref);

	if (ref)
		for (__u32 i = 0; i < value_words; i++)
			ARENA_WRITE(to[i], ARENA_READ(old->words[key_words + i]));
	else
		for (__u32 i = 0; i < value_words; i++)
			ARENA_WRITE(to[i], 0);
}

/*
 * Copies a key's value, or zeros if the key is absent, calls change to edit the copy, and stores the
 * result. It may call change several times, each time with a consistent value of the key. Returns 0,
 * -ENOENT or -EEXIST depending on flags, -ENOMEM, -ELOOP or -EAGAIN.
 */
static __always_inline int arena_table_change(struct arena_table __arena *t, const __u64 *key, __u32 key_words,
					      __u32 value_words, __u32 flags, arena_change_fn change, void *ctx)
{
	__u64 hash = arena_hash(t->seed, key, key_words), head;
	__u64 __arena *bucket = arena_bucket(t, hash);
	struct arena_node __arena *node = NULL;
	__u32 ref, depth, next;
	int err;

	arena_use();
	do {
		head = ARENA_READ(*bucket);
		ref = arena_find(head, hash >> 32, key, key_words, &depth);
		err = arena_check_flags(ref, depth, flags);
		if (err && arena_unchanged(bucket, head))
			break;
		if (err) {
			err = -EAGAIN;
			continue;
		}
		err = -ENOMEM;
		if (!node)
			node = arena_new_node(hash, key, key_words, value_words);
		if (!node)
			break;
		arena_copy_value(&node->words[key_words], ref, key_words, value_words);
		next = ref ? ARENA_READ(((struct arena_node __arena *)arena_ptr(ref))->next) : (__u32)head;
		if (ref && !arena_unchanged(bucket, head)) {
			/* The copy may be torn, or be of another key: do not pass it to change. */
			err = -EAGAIN;
			continue;
		}
		if (ref && depth) {
			next = arena_copy_nodes(head, depth, next, key_words + value_words);
			if (!next)
				break;
		}
		change(&node->words[key_words], ctx);
		ARENA_WRITE(node->next, next);
		/* Publishes the new nodes, and proves the loads for the copies (litmus table-update, table-replace). */
		if (arena_cas(*bucket, head, arena_retag(head, arena_ref(node)))) {
			if (ref)
				arena_free_nodes(head, depth + 1);
			else
				__sync_fetch_and_add(&t->count, 1);
			return 0;
		}
		if (ref)
			arena_free_nodes(next, depth);
		err = -EAGAIN;
	} while (arena_can_loop);
	if (node)
		arena_free(node);
	return err;
}

struct arena_new_value {
	const __u64 *words;
	__u32 count;
};

static __always_inline void arena_set_value(__u64 __arena *value, void *ctx)
{
	struct arena_new_value *from = ctx;

	for (__u32 i = 0; i < from->count; i++)
		ARENA_WRITE(value[i], from->words[i]);
}

/* Sets a key's value. flags are ARENA_ANY, ARENA_NOEXIST or ARENA_EXIST. Errors: see arena_table_change. */
static __always_inline int arena_table_put(struct arena_table __arena *t, const __u64 *key, __u32 key_words,
					   const __u64 *value, __u32 value_words, __u32 flags)
{
	struct arena_new_value from = { value, value_words };

	return arena_table_change(t, key, key_words, value_words, flags, arena_set_value, &from);
}

/* Deletes a key. Returns 0, -ENOENT, -ENOMEM, -ELOOP or -EAGAIN. */
static __always_inline int arena_table_delete(struct arena_table __arena *t, const __u64 *key, __u32 key_words,
					      __u32 value_words)
{
	__u64 hash = arena_hash(t->seed, key, key_words), head;
	__u64 __arena *bucket = arena_bucket(t, hash);
	struct arena_node __arena *old;
	__u32 ref, depth, next, first;

	arena_use();
	do {
		head = ARENA_READ(*bucket);
		ref = arena_find(head, hash >> 32, key, key_words, &depth);
		if (!ref) {
			if (!arena_unchanged(bucket, head))
				continue;
			return arena_chain_error(depth) ?: -ENOENT;
		}
		old = arena_ptr(ref);
		next = ARENA_READ(old->next);
		first = next;
		if (depth) {
			first = arena_copy_nodes(head, depth, next, key_words + value_words);
			if (!first)
				return -ENOMEM;
		}
		if (arena_cas(*bucket, head, arena_retag(head, first))) {
			arena_free_nodes(head, depth + 1);
			__sync_fetch_and_add(&t->count, -1);
			return 0;
		}
		arena_free_nodes(first, depth);
	} while (arena_can_loop);
	return -EAGAIN;
}

#endif

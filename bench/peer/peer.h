/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The C peer of the benchmarks: a program that uses libbpf, to which the Go peer is compared. It
 * speaks the protocol of bench/harness/serve.go.
 */
#ifndef PEER_H
#define PEER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define MAX_ARGS 8

/* The arguments of a request, without its name. */
struct request {
	int argc;
	const char *argv[MAX_ARGS];
};

uint64_t number(const struct request *req, int i);
const char *word(const struct request *req, int i);

/* Tells the sender of the request that the work starts. Only some requests need it. */
void ready(void);
/* Sends the answer to a request. Each request ends with one call of answer() or fail(). */
void answer(const uint64_t *values, size_t n);
void fail(const char *what, int err);

void consume(const struct request *req);
void hot(const struct request *req);
void stream(const struct request *req);
void wake(const struct request *req);
void userring(const struct request *req);
void tokernel(const struct request *req);
void arenalist(const struct request *req);
void lookup(const struct request *req);
void udpget(const struct request *req);

/* Counts and sums records, to verify that a reader has read all of them. */
struct tally {
	uint64_t records;
	uint64_t sum; /* of the first 8 bytes and the length of each */
};

static inline void count(struct tally *t, const void *data, size_t len)
{
	uint64_t first;

	memcpy(&first, data, sizeof(first));
	t->records++;
	t->sum += first + len;
}

/* Returns CLOCK_MONOTONIC, the clock of bpf_ktime_get_ns, in ns. */
static inline uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* The longest time to wait for a record, in ms. */
#define PATIENCE 10000

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The C side of the benchmarks: a program with libbpf, with which the Go side is compared. The
 * protocol is that of bench/harness/serve.go.
 */
#ifndef PEER_H
#define PEER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#define MAX_ARGS 8

/* The arguments of a request after its name. */
struct request {
	int argc;
	const char *argv[MAX_ARGS];
};

uint64_t number(const struct request *req, int i);
const char *word(const struct request *req, int i);

/* Tells the other side that the work starts, for requests that wait for it. */
void ready(void);
/* Answers a request; each request ends with one of the two. */
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

/* A proof that a reader has seen all records. */
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

/* The time in ns, CLOCK_MONOTONIC as bpf_ktime_get_ns. */
static inline uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

/* How long to wait for a record that does not come, in ms. */
#define PATIENCE 10000

#endif

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0

// The record is text, in an array on the stack.
#include "corpus.h"

RING(rb);
volatile char first = 'h';

SEC("raw_tp")
int p(void *ctx)
{
	char msg[] = "?ello, world";

	msg[0] = first;
	return bpf_ringbuf_output(&rb, msg, sizeof(msg), 0);
}

//go:build ignore

// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Variables in the arena: clang puts them into the section .addr_space.1. */
#include "arena.h"

ARENA_DEFINE();

__u64 __arena number = 42;
__u64 __arena numbers[3] = { 1, 2, 3 };
__u64 __arena *__arena pointer;

SEC("syscall")
int globals(void *ctx)
{
	arena_use();
	number += numbers[1];
	numbers[2] = number;
	pointer = &numbers[2];
	return 0;
}

char LICENSE[] SEC("license") = "GPL";

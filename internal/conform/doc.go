// Package conform states what the kernel promises of the BPF objects that rbtool
// works with, one [Rule] for each promise, and finds out whether the running
// kernel keeps it.
//
// A rule is a sentence, where the sentence comes from, and a test that has the
// kernel do what the sentence says: through bpf(2), mmap(2), epoll(7) and
// minimal programs that it loads and runs with BPF_PROG_TEST_RUN. It never asks
// for a version. The smallest use:
//
//	for _, result := range conform.Run(ctx, conform.Rules(), nil) {
//		fmt.Println(result.Rule.Name, result.Verdict, result.Detail)
//	}
//
// It needs root, and a lifted RLIMIT_MEMLOCK on kernels up to 5.10. Nothing that
// a rule makes is visible to other processes by name, and all of it is gone when Run
// returns: pins go to a file system that is mounted nowhere.
//
// Run must not be called by several goroutines at once: some rules count what
// the whole process does.
package conform

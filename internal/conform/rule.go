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

import (
	"cmp"
	"slices"
)

// Group is a set of rules about one kind of object.
type Group string

// The groups, in the order in which [Rules] has them.
const (
	RingBuf     Group = "ringbuf"
	UserRingBuf Group = "user_ringbuf"
	Arena       Group = "arena"
	Pinning     Group = "pinning"
	ProgArray   Group = "prog_array"
	PerCPU      Group = "percpu"
	Prealloc    Group = "prealloc"
	StackTrace  Group = "stack_trace"
	Recursion   Group = "recursion"
	ZeroSize    Group = "zero_size"
	Kptr        Group = "kptr"
)

// Groups returns all groups.
func Groups() []Group {
	return []Group{
		RingBuf, UserRingBuf, Arena, Pinning, ProgArray, PerCPU, Prealloc,
		StackTrace, Recursion, ZeroSize, Kptr,
	}
}

// Rule is one promise of the kernel.
type Rule struct {
	Group Group
	// Name is unique in the group: words with dashes between them.
	Name string
	// Statement is the promise, as a sentence that is true or false.
	Statement string
	// Source is where it is made: a file and function of the kernel (of Linux 7.2,
	// unless it says another), or a document.
	Source string

	// check returns when the kernel keeps the promise, and ends by a method of T
	// when it does not.
	check func(*T)
}

// ID is the group and the name, as in "ringbuf/size-power-of-two".
func (r Rule) ID() string { return string(r.Group) + "/" + r.Name }

// rules is filled by the init of each group's file.
var rules []Rule

// register adds the rules of a group.
func register(g Group, of ...Rule) bool {
	for _, r := range of {
		r.Group = g
		rules = append(rules, r)
	}
	return true
}

// Rules returns every rule, by group; in a group as they are best read.
func Rules() []Rule {
	order := Groups()
	sorted := slices.Clone(rules)
	slices.SortStableFunc(sorted, func(a, b Rule) int {
		return cmp.Compare(slices.Index(order, a.Group), slices.Index(order, b.Group))
	})
	return sorted
}

// Verdict says whether the kernel keeps a promise.
type Verdict string

const (
	// Yes: it does what the statement says.
	Yes Verdict = "yes"
	// No: it does not, and what it does instead is known of other kernels. The
	// detail says what that is.
	No Verdict = "no"
	// NotSupported: it lacks the feature that the statement is about, or one that
	// the test needs. The result names it.
	NotSupported Verdict = "not supported"
	// Differs: it does something that is not known of any kernel. The detail
	// says what it did.
	Differs Verdict = "differs"
)

// Result is what a rule's test found on the running kernel.
type Result struct {
	Rule    Rule
	Verdict Verdict
	// Detail is what the kernel did, or why the feature was found missing; empty
	// for Yes.
	Detail string
	// Feature is what is missing; empty unless the verdict is NotSupported.
	Feature string
}

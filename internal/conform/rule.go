// Package conform states what the kernel promises about the BPF objects that rbtool works with, one
// [Rule] for each promise, and tests whether the running kernel keeps it.
//
// A rule is a sentence, its source, and a test that makes the kernel do what the sentence
// says, through bpf(2), mmap(2), epoll(7) and small programs that it runs with
// BPF_PROG_TEST_RUN. No rule looks at the kernel's version. The smallest use:
//
//	for _, result := range conform.Run(ctx, conform.Rules(), nil) {
//		fmt.Println(result.Rule.Name, result.Verdict, result.Detail)
//	}
//
// It takes root, and a raised RLIMIT_MEMLOCK on kernels up to 5.10. The objects of a rule have
// no names that other processes see, and are gone when Run returns: pins are on a file system
// that is mounted nowhere.
//
// Only one goroutine at a time may call Run: some rules count what the whole process does.
package conform

import (
	"cmp"
	"slices"
)

// Group is a set of rules about one kind of object.
type Group string

// The groups, in the order of [Rules].
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
	// Source is where the promise is made: a file and function of the kernel (in Linux 7.2 unless
	// it names another version), or a document.
	Source string

	// check tests the rule. If the kernel does not keep the promise, it calls a method of T that
	// sets the verdict and does not return.
	check func(*T)
}

// ID returns group and name, as in "ringbuf/size-power-of-two".
func (r Rule) ID() string { return string(r.Group) + "/" + r.Name }

// rules has the rules of all groups. Each group's file adds its rules by a call of register.
var rules []Rule

// register adds the rules of a group.
func register(g Group, of ...Rule) bool {
	for _, r := range of {
		r.Group = g
		rules = append(rules, r)
	}
	return true
}

// Rules returns all rules, sorted by group, and within a group in the order of registration.
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
	// Yes means that the kernel does what the statement says.
	Yes Verdict = "yes"
	// No means that the kernel does what kernels without this promise are known to do;
	// Result.Detail describes it.
	No Verdict = "no"
	// NotSupported means that the kernel lacks a feature that the statement is about or that the
	// test needs; Result.Feature names it.
	NotSupported Verdict = "not supported"
	// Differs means that the kernel does something that no kernel is known to do; Result.Detail
	// describes it.
	Differs Verdict = "differs"
)

// Result is the outcome of a rule's test on the running kernel.
type Result struct {
	Rule    Rule
	Verdict Verdict
	// Detail says what the kernel did, or why the feature is missing; empty for Yes.
	Detail string
	// Feature is the missing feature; empty unless the verdict is NotSupported.
	Feature string
}

// Package report judges the results of a run: which tests passed, failed and skipped on which
// kernel, which features each kernel has, and which problems fail the run. The package does no I/O
// apart from writing the report.
package report

import (
	"slices"
	"time"
)

// Report is the report of a whole run.
type Report struct {
	Date time.Time
	// Complete means that all kernels of the list that are of the first architecture were run. Only
	// then is a test that every kernel skipped a problem.
	Complete bool
	Kernels  []Kernel
	// Features are the names of the probed features, in the order in which they are shown.
	Features []string
	// Host are the names of the features that guests never have. A test that every kernel skipped
	// for one of them is not a problem.
	Host []string `json:",omitempty"`
	// Problems are the problems of the whole run. Those of one kernel are in Kernel.Problems.
	Problems []Problem `json:",omitempty"`
}

// Kernel has the results of one kernel.
type Kernel struct {
	// Name is the kernel's name on the command line, Release its release according to uname(2).
	Name, Release string
	// Runner and Accel name the runner and the accelerator that were used.
	Runner, Accel string
	// Boot is the time from the start of the machine to the first test.
	Boot time.Duration
	// Elapsed is the total time.
	Elapsed time.Duration
	// Required and Absent are the features that this kernel must have and must lack according to
	// kernels.txt.
	Required, Absent []string `json:",omitempty"`
	// Features maps the name of each probed feature to the reason why it is missing, or to "" if it
	// is present.
	Features map[string]string
	Packages []Package
	Problems []Problem `json:",omitempty"`
}

// Package has the results of one package's tests on one kernel.
type Package struct {
	Path  string
	State State
	// Pass, Fail and Skip count tests. Of a test with subtests only the subtests are counted.
	Pass, Fail, Skip int
	Elapsed          time.Duration
	Tests            []Test `json:",omitempty"`
}

// State is the outcome of a package's tests on one kernel.
type State string

const (
	NoTests     State = "no tests"
	BuildFailed State = "build failed"
	NotRun      State = "not run"
	Died        State = "died" // the machine died while the package's tests ran
	Failed      State = "failed"
	Passed      State = "passed"
)

// Result is a test's result.
type Result string

const (
	Pass Result = "pass"
	Fail Result = "fail"
	Skip Result = "skip"
	// Unfinished: the test was running when its binary ended.
	Unfinished Result = "unfinished"
)

// Test is one test's result on one kernel.
type Test struct {
	Name    string
	Result  Result
	Elapsed time.Duration // by the guest's clock, subtests included
	// Feature is the feature for lack of which the test was skipped, Reason the whole message.
	Feature string `json:",omitempty"`
	Reason  string `json:",omitempty"`
	// Leaf is true for a test without subtests; only those are counted.
	Leaf bool
	// Output is the output of a failed test.
	Output string `json:",omitempty"`
}

// Problem is something that makes the run fail.
type Problem struct {
	// Package and Test are empty if the problem does not belong to a package or a test.
	Package, Test string `json:",omitempty"`
	What          string
	// Detail is output of a test, or the end of the machine's console.
	Detail string `json:",omitempty"`
}

// OK reports whether there is no problem.
func (r Report) OK() bool {
	return len(r.Problems) == 0 && !slices.ContainsFunc(r.Kernels, func(k Kernel) bool { return len(k.Problems) > 0 })
}

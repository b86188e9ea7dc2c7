// Package report judges the results of a run: which tests passed, failed and skipped on which
// kernel, which features each kernel has, and which problems fail the run. It only computes.
package report

import (
	"slices"
	"time"
)

// Report is the report of a whole run.
type Report struct {
	Date time.Time
	// Complete means that all kernels of the list were run: a test that every one of them skipped
	// runs nowhere.
	Complete bool
	Kernels  []Kernel
	// Features are the names of the probed features, in the order of display.
	Features []string
	// Problems are those of the whole run; a kernel has its own.
	Problems []Problem `json:",omitempty"`
}

// Kernel has the results of one kernel.
type Kernel struct {
	// Name is the name on the command line, Release that of uname(2).
	Name, Release string
	// Runner and Accel tell how it was run.
	Runner, Accel string
	// Boot is the time from the start of the machine to the first test.
	Boot time.Duration
	// Elapsed is the total time.
	Elapsed time.Duration
	// Required and Absent are the features that it must have and must lack by the list.
	Required, Absent []string `json:",omitempty"`
	// Features maps each probed feature to why it is missing, "" if it is present.
	Features map[string]string
	Packages []Package
	Problems []Problem `json:",omitempty"`
}

// Package has the results of one package's tests on one kernel.
type Package struct {
	Path  string
	State State
	// Pass, Fail and Skip count tests; for a test with subtests, the subtests.
	Pass, Fail, Skip int
	Elapsed          time.Duration
	Tests            []Test `json:",omitempty"`
}

// State tells how far a package came.
type State string

const (
	NoTests     State = "no tests"
	BuildFailed State = "build failed"
	NotRun      State = "not run"
	Died        State = "died" // the machine, during the package
	Failed      State = "failed"
	Passed      State = "passed"
)

// Result is a test's result.
type Result string

const (
	Pass Result = "pass"
	Fail Result = "fail"
	Skip Result = "skip"
	// Unfinished: it was running when its binary ended.
	Unfinished Result = "unfinished"
)

// Test is one test's result on one kernel.
type Test struct {
	Name    string
	Result  Result
	Elapsed time.Duration // as the guest's clock has it, with its subtests
	// Feature is what a skipped test lacks, Reason its whole message.
	Feature string `json:",omitempty"`
	Reason  string `json:",omitempty"`
	// Leaf is true for a test without subtests; only those are counted.
	Leaf bool
	// Output is the output of a failed test.
	Output string `json:",omitempty"`
}

// Problem fails the run.
type Problem struct {
	// Package and Test are empty if the problem is not theirs.
	Package, Test string `json:",omitempty"`
	What          string
	// Detail is output, or the end of a console.
	Detail string `json:",omitempty"`
}

// OK reports whether there is no problem.
func (r Report) OK() bool {
	return len(r.Problems) == 0 && !slices.ContainsFunc(r.Kernels, func(k Kernel) bool { return len(k.Problems) > 0 })
}

// Package report turns what happened in the machines into a verdict: which tests
// passed, failed and skipped on which kernel, which features each kernel has, and
// everything that must not be. It is pure: nothing here runs anything.
package report

import (
	"slices"
	"time"
)

// Report is a whole run.
type Report struct {
	Date time.Time
	// Complete says that all kernels of the list were run, so that a test that
	// none of them ran is known to run nowhere.
	Complete bool
	Kernels  []Kernel
	// Features are the names of the probed features, in the order of display.
	Features []string
	// Problems are of the run as a whole; those of a kernel are with it.
	Problems []Problem `json:",omitempty"`
}

// Kernel is what one kernel did.
type Kernel struct {
	// Name is what the kernel was asked for as, Release what it says itself.
	Name, Release string
	// Runner and Accel say how it was run.
	Runner, Accel string
	// Boot is the time from the start of the machine to the first test.
	Boot time.Duration
	// Elapsed is the time of everything.
	Elapsed time.Duration
	// Required and Absent are the features that the list says it has and lacks.
	Required, Absent []string `json:",omitempty"`
	// Features maps each probed feature to why it is missing, "" where it is there.
	Features map[string]string
	Packages []Package
	Problems []Problem `json:",omitempty"`
}

// Package is what one package's tests did on one kernel.
type Package struct {
	Path  string
	State State
	// Pass, Fail and Skip count tests; of one with subtests, the subtests.
	Pass, Fail, Skip int
	Elapsed          time.Duration
	Tests            []Test `json:",omitempty"`
}

// State says how far a package came.
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
	// Unfinished is a test that was running when its binary ended.
	Unfinished Result = "unfinished"
)

// Test is one test's result on one kernel.
type Test struct {
	Name    string
	Result  Result
	Elapsed time.Duration // as the guest's clock has it, with its subtests
	// Feature is what a skipped test says is missing, Reason all that it says.
	Feature string `json:",omitempty"`
	Reason  string `json:",omitempty"`
	// Leaf tells a test without subtests: only those are counted.
	Leaf bool
	// Output is what a failed test printed.
	Output string `json:",omitempty"`
}

// Problem is something that fails the run.
type Problem struct {
	// Package and Test are "" where the problem is not theirs.
	Package, Test string `json:",omitempty"`
	What          string
	// Detail is what helps to understand it: output, or the end of a console.
	Detail string `json:",omitempty"`
}

// OK says that nothing fails the run.
func (r Report) OK() bool {
	return len(r.Problems) == 0 && !slices.ContainsFunc(r.Kernels, func(k Kernel) bool { return len(k.Problems) > 0 })
}

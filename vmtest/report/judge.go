package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rbtool/rbtool/vmtest/guest"
)

// End is what the host knows about the end of a package's test binary.
type End struct {
	// Exit is the report of the guest's driver, nil if the machine died first.
	Exit *guest.Exit
	// Bytes is the length of the output that arrived.
	Bytes int64
	// Output is the output that arrived.
	Output string
	// Limit is the time limit of the binary.
	Limit time.Duration
	// Died says how the machine died, and Console is the end of its console output. Both are empty if
	// it did not die.
	Died, Console string
}

// JudgeBinary sets the state and counts of the package, and returns its problems: failed tests, and
// a bad end of the binary.
func JudgeBinary(p *Package, end End) []Problem {
	p.Count()
	p.State = Passed
	problems := testProblems(p)
	if what := endProblem(end); what != "" {
		problem := Problem{Package: p.Path, Test: running(p.Tests), What: what, Detail: end.Console}
		// Exit status 1 is no further problem if tests failed.
		failed := len(problems) > 0 && end.Exit != nil && end.Exit.Code == 1 && end.Exit.Bytes == end.Bytes
		if !failed {
			if problem.Detail == "" {
				problem.Detail = tail(end.Output, 4<<10)
			}
			problems = append(problems, problem)
		}
	} else if test := running(p.Tests); test != "" {
		problems = append(problems, Problem{Package: p.Path, Test: test, What: "no result, though the binary succeeded"})
	}
	if len(problems) > 0 {
		p.State = Failed
	}
	if end.Died != "" {
		p.State = Died
	}
	return problems
}

func testProblems(p *Package) []Problem {
	var problems []Problem
	for _, t := range p.Tests {
		if t.Result == Fail && t.Leaf {
			problems = append(problems, Problem{Package: p.Path, Test: t.Name, What: "failed", Detail: t.Output})
		}
	}
	return problems
}

// running returns the innermost test that was running when the binary ended, or the empty string.
func running(tests []Test) string {
	for _, t := range slices.Backward(tests) {
		if t.Result == Unfinished {
			return t.Name
		}
	}
	return ""
}

// endProblem returns what is wrong with the end of a binary, or the empty string.
func endProblem(end End) string {
	exit := end.Exit
	switch {
	case end.Died != "":
		return end.Died
	case exit == nil:
		return "the guest did not report how the binary ended"
	case exit.TimedOut:
		return fmt.Sprintf("killed at its time limit of %v", end.Limit)
	case exit.Signal != "":
		return "killed by " + exit.Signal
	case exit.Error != "":
		return "could not be run: " + exit.Error
	case exit.Bytes != end.Bytes:
		return fmt.Sprintf("output truncated: %d of %d bytes arrived", end.Bytes, exit.Bytes)
	case exit.Code != 0 && strings.Contains(end.Output, "panic: test timed out after "):
		return fmt.Sprintf("time limit of %v passed (exit status %d)", end.Limit, exit.Code)
	case exit.Code != 0:
		return fmt.Sprintf("exit status %d", exit.Code)
	}
	return ""
}

// JudgeFeatures adds the problems of the kernel's features: required but missing, or the reverse.
func JudgeFeatures(k *Kernel) {
	if k.Features == nil {
		return
	}
	for _, f := range k.Required {
		if why, probed := k.Features[f]; why != "" || !probed {
			k.problem("", "", fmt.Sprintf("required feature %s is missing", f), why)
		}
	}
	for _, f := range k.Absent {
		if why, probed := k.Features[f]; probed && why == "" {
			k.problem("", "", fmt.Sprintf("feature %s is present, but kernels.txt says that it is not", f), "")
		}
	}
}

// JudgeSkips adds the problems of the kernel's skipped tests.
func JudgeSkips(k *Kernel) {
	for _, p := range k.Packages {
		for _, t := range p.Tests {
			if t.Result == Skip {
				k.judgeSkip(p.Path, t)
			}
		}
	}
}

func (k *Kernel) problem(pkg, test, what, detail string) {
	k.Problems = append(k.Problems, Problem{Package: pkg, Test: test, What: what, Detail: detail})
}

// judgeSkip adds a problem if the skipped test names no missing feature, or a feature that the
// kernel must have, that the probe found, or that no probe knows.
func (k *Kernel) judgeSkip(pkg string, t Test) {
	why, probed := k.Features[t.Feature]
	switch {
	case t.Feature == "":
		k.problem(pkg, t.Name, "skipped without naming a missing feature", t.Reason)
	case slices.Contains(k.Required, t.Feature):
		k.problem(pkg, t.Name, fmt.Sprintf("skipped for feature %s, which this kernel must have", t.Feature), t.Reason)
	case k.Features == nil:
	case !probed:
		k.problem(pkg, t.Name, fmt.Sprintf("skipped for feature %s, which no probe knows", t.Feature), t.Reason)
	case why == "":
		k.problem(pkg, t.Name, fmt.Sprintf("skipped for feature %s, which the probe found", t.Feature), t.Reason)
	}
}

// JudgeRun adds the problems of the whole run: tests that were skipped on every kernel, unless for a
// feature that only the host may have.
func JudgeRun(r *Report) {
	if !r.Complete {
		return
	}
	type key struct{ pkg, test string }
	ran, reasons := map[key]bool{}, map[key]string{}
	var skipped []key
	for _, k := range r.Kernels {
		for _, p := range k.Packages {
			for _, t := range p.Tests {
				id := key{p.Path, t.Name}
				if t.Result != Skip || slices.Contains(r.Host, t.Feature) {
					ran[id] = true
				} else if reasons[id] == "" {
					skipped = append(skipped, id)
					reasons[id] = t.Reason
				}
			}
		}
	}
	for _, id := range skipped {
		if !ran[id] {
			r.Problems = append(r.Problems, Problem{Package: id.pkg, Test: id.test, What: "skipped on every kernel", Detail: reasons[id]})
		}
	}
}

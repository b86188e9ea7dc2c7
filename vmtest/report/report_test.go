package report

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/vmtest/guest"
)

const events = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/one"}
{"Action":"pass","Package":"p","Test":"TestA/one","Elapsed":1.25}
{"Action":"run","Package":"p","Test":"TestA/two"}
{"Action":"output","Package":"p","Test":"TestA/two","Output":"=== RUN TestA/two\n"}
{"Action":"output","Package":"p","Test":"TestA/two","Output":"    a_test.go:7: missing feature arena: Arena not supported (requires >= v6.9)\n"}
{"Action":"output","Package":"p","Test":"TestA/two","Output":"    --- SKIP: TestA/two (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestA/two"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestB"}
{"Action":"run","Package":"p","Test":"TestB/three"}
{"Action":"output","Package":"p","Test":"TestB/three","Output":"boom\n"}
{"Action":"fail","Package":"p","Test":"TestB/three"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"run","Package":"p","Test":"TestC"}
{"Action":"output","Package":"p","Output":"FAIL\n"}
`

func TestResultsAreThoseOfTheEvents(t *testing.T) {
	got, err := Tests(strings.NewReader(events))
	if err != nil {
		t.Fatal(err)
	}
	want := []Test{
		{Name: "TestA", Result: Pass},
		{Name: "TestA/one", Result: Pass, Leaf: true, Elapsed: 1250 * time.Millisecond},
		{Name: "TestA/two", Result: Skip, Leaf: true, Feature: "arena", Reason: "a_test.go:7: missing feature arena: Arena not supported (requires >= v6.9)"},
		{Name: "TestB", Result: Fail},
		{Name: "TestB/three", Result: Fail, Leaf: true, Output: "boom\n"},
		{Name: "TestC", Result: Unfinished, Leaf: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	p := Package{Tests: got}
	p.Count()
	if p.Pass != 1 || p.Skip != 1 || p.Fail != 2 {
		t.Errorf("%d passed, %d skipped, %d failed", p.Pass, p.Skip, p.Fail)
	}
}

func TestOutputIsPlain(t *testing.T) {
	const output = "\x16=== RUN   TestA\nhello\n\x16=== NAME  TestA\nno newline\x16--- PASS: TestA (0.00s)\n\x16=== NAME  \n"
	const want = "=== RUN   TestA\nhello\nno newline--- PASS: TestA (0.00s)\n"
	if diff := cmp.Diff(want, Plain([]byte(output))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWhichFeatureASkipNames(t *testing.T) {
	for text, want := range map[string]string{
		"a_test.go:1: missing feature user_ringbuf: no": "user_ringbuf",
		"a_test.go:1: missing feature arena":            "arena",
		"missing feature initial pid namespace":         "", // ambiguous: a feature's name has no spaces
		"it rains":                                      "",
		"":                                              "",
	} {
		got := ""
		if m := missingFeature.FindStringSubmatch(text); m != nil {
			got = m[1]
		}
		if got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

func TestABinaryIsJudgedByItsEnd(t *testing.T) {
	limit := time.Minute
	passed := []Test{{Name: "TestA", Result: Pass, Leaf: true}}
	failed := []Test{{Name: "TestA", Result: Fail, Leaf: true}}
	cut := []Test{{Name: "TestA", Result: Unfinished, Leaf: true}}
	for _, tt := range []struct {
		name  string
		tests []Test
		end   End
		state State
		want  []string
	}{
		{"success", passed, End{Exit: &guest.Exit{}}, Passed, nil},
		{"a failed test", failed, End{Exit: &guest.Exit{Code: 1}}, Failed, []string{"p: TestA: failed"}},
		{"a failed test, and more", failed, End{Exit: &guest.Exit{Code: 4}}, Failed, []string{"p: TestA: failed", "p: exit status 4"}},
		{"a status without a failed test", passed, End{Exit: &guest.Exit{Code: 1}}, Failed, []string{"p: exit status 1"}},
		{"an exit in a test", cut, End{Exit: &guest.Exit{Code: 3}}, Failed, []string{"p: TestA: exit status 3"}},
		{"an exit in a test, as if all were well", cut, End{Exit: &guest.Exit{}}, Failed, []string{"p: TestA: no result, though the binary succeeded"}},
		{"a signal", cut, End{Exit: &guest.Exit{Code: -1, Signal: "SIGKILL"}}, Failed, []string{"p: TestA: killed by SIGKILL"}},
		{"the driver's limit", cut, End{Exit: &guest.Exit{Code: -1, Signal: "SIGKILL", TimedOut: true}, Limit: limit}, Failed, []string{"p: TestA: killed at its time limit of 1m0s"}},
		{"the testing package's limit", cut, End{Exit: &guest.Exit{Code: 2}, Limit: limit, Output: "panic: test timed out after 1m0s\n", Bytes: 0}, Failed, []string{"p: TestA: time limit of 1m0s passed (exit status 2)"}},
		{"truncated output", passed, End{Exit: &guest.Exit{Bytes: 10}, Bytes: 9}, Failed, []string{"p: output truncated: 9 of 10 bytes arrived"}},
		{"no such binary", nil, End{Exit: &guest.Exit{Code: -1, Error: "no such file"}}, Failed, []string{"p: could not be run: no such file"}},
		{"a dead machine", cut, End{Died: "guest panic: oops"}, Died, []string{"p: TestA: guest panic: oops"}},
	} {
		p := Package{Path: "p", Tests: tt.tests}
		var got []string
		for _, problem := range JudgeBinary(&p, tt.end) {
			got = append(got, problem.String())
		}
		if diff := cmp.Diff(tt.want, got); diff != "" || p.State != tt.state {
			t.Errorf("%s: %s, -want +got:\n%s", tt.name, p.State, diff)
		}
	}
}

func skipping(feature string) []Package {
	return []Package{{Path: "p", Tests: []Test{{Name: "TestA", Result: Skip, Leaf: true, Feature: feature, Reason: "why"}}}}
}

func TestFeaturesAndSkipsAreHeldAgainstTheProbe(t *testing.T) {
	features := map[string]string{"here": "", "gone": "no"}
	for _, tt := range []struct {
		name   string
		kernel Kernel
		want   []string
	}{
		{"an honest skip", Kernel{Features: features, Packages: skipping("gone")}, nil},
		{"a skip for what is there", Kernel{Features: features, Packages: skipping("here")}, []string{"p: TestA: skipped for feature here, which the probe found"}},
		{"a skip for what nobody knows", Kernel{Features: features, Packages: skipping("odd")}, []string{"p: TestA: skipped for feature odd, which no probe knows"}},
		{"a skip for nothing", Kernel{Features: features, Packages: skipping("")}, []string{"p: TestA: skipped without naming a missing feature"}},
		{"a skip for what must be there", Kernel{Features: features, Required: []string{"gone"}, Packages: skipping("gone")}, []string{
			"required feature gone is missing", "p: TestA: skipped for feature gone, which this kernel must have"}},
		{"a feature before its time", Kernel{Features: features, Absent: []string{"here", "gone"}}, []string{"feature here is present, but kernels.txt says that it is not"}},
	} {
		JudgeFeatures(&tt.kernel)
		JudgeSkips(&tt.kernel)
		var got []string
		for _, p := range tt.kernel.Problems {
			got = append(got, p.String())
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: -want +got:\n%s", tt.name, diff)
		}
	}
}

func TestATestThatNoKernelRunsFailsTheRun(t *testing.T) {
	ran := []Package{{Path: "p", Tests: []Test{{Name: "TestA", Result: Pass}}}}
	for _, tt := range []struct {
		name     string
		complete bool
		kernels  []Kernel
		want     int
	}{
		{"all skip", true, []Kernel{{Packages: skipping("a")}, {Packages: skipping("a")}}, 1},
		{"all skip for a feature of the host", true, []Kernel{{Packages: skipping("own")}, {Packages: skipping("own")}}, 0},
		{"one runs it", true, []Kernel{{Packages: skipping("a")}, {Packages: ran}}, 0},
		{"not all kernels were asked", false, []Kernel{{Packages: skipping("a")}}, 0},
	} {
		r := Report{Complete: tt.complete, Kernels: tt.kernels, Host: []string{"own"}}
		JudgeRun(&r)
		if len(r.Problems) != tt.want || r.OK() != (tt.want == 0) {
			t.Errorf("%s: %v", tt.name, r.Problems)
		}
	}
}

func sample() Report {
	return Report{
		Date:     time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC),
		Features: []string{"arena"},
		Kernels: []Kernel{
			{Name: "6.1", Release: "6.1.0", Runner: "direct", Accel: "tcg", Features: map[string]string{"arena": "no"}, Packages: []Package{
				{Path: "m/a", State: Passed, Pass: 3, Skip: 2}, {Path: "m/b", State: NoTests}}},
			{Name: "6.12", Release: "6.12.0", Runner: "direct", Accel: "tcg", Features: map[string]string{"arena": ""}, Packages: []Package{
				{Path: "m/a", State: Failed, Pass: 4, Fail: 1}, {Path: "m/b", State: NoTests}},
				Problems: []Problem{{"m/a", "TestX", "failed", "boom\n"}, {"m/a", "TestY", "failed", "boom\n"}}},
		},
	}
}

func TestTextIsForATerminal(t *testing.T) {
	var b strings.Builder
	if err := sample().Text(&b); err != nil {
		t.Fatal(err)
	}
	const want = `FAIL 6.12: m/a: TestX: failed
    and 1 more tests, for the same reason
    boom

feature  6.1  6.12
arena    -    yes

package  6.1           6.12
a        3, 2 skipped  1 FAILED, 4
b        no tests      no tests

2 kernels: 2 problems
7 passed, 1 failed, 2 skipped
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestMarkdownIsAPage(t *testing.T) {
	var b strings.Builder
	if err := sample().Markdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Generated on 2026-11-21", "| feature | 6.1 | 6.12 |\n| --- | --- | --- |\n| arena | - | yes |\n",
		"| a | 3, 2 skipped | 1 FAILED, 4 |", "| 6.12 | 6.12.0 | direct | tcg |", "- 6.12: m/a: TestX: failed\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

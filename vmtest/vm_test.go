//go:build vm

// Tests that boot machines: go test -tags vm ./vmtest. They need qemu, kernels from VMTEST_CACHE or
// a mirror, and several minutes.

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/vmtest/kernels"
	"github.com/rbtool/rbtool/vmtest/report"
)

// TestMain lets the test binary run as the driver in machines, and as the command vmtest.
func TestMain(m *testing.M) {
	if code, inside := insideGuest(os.Args[1:]); inside {
		os.Exit(code)
	}
	if os.Getenv("VMTEST_TEST_AS_COMMAND") != "" {
		os.Exit(hostMain(context.Background(), os.Args[1:]))
	}
	os.Exit(m.Run())
}

// runPackages runs packages below testdata on the kernels of the given series, as the command does.
func runPackages(t *testing.T, runner string, series []string, packages ...string) report.Report {
	t.Helper()
	known, err := kernels.Known()
	if err != nil {
		t.Fatal(err)
	}
	var args []string
	for _, p := range packages {
		args = append(args, "./testdata/"+p)
	}
	o := options{kernels: series, runner: runner, cpus: 2, memory: 1024, limit: 20 * time.Second, parallel: 1, args: args}
	if o.cache, err = cacheDir(); err != nil {
		t.Fatal(err)
	}
	h, err := newHost(o, known)
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	h.grace = 20 * time.Second
	r, err := h.runAll(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// summary returns the state of each package and the problems without their details.
func summary(k report.Kernel) []string {
	var lines []string
	short := func(s string) string { return s[strings.LastIndexByte(s, '/')+1:] }
	for _, p := range k.Packages {
		lines = append(lines, short(p.Path)+" "+string(p.State))
	}
	for _, p := range k.Problems {
		p.Package = short(p.Package)
		lines = append(lines, p.String())
	}
	return lines
}

func detail(t *testing.T, k report.Kernel, pkg string) string {
	t.Helper()
	for _, p := range k.Problems {
		if strings.HasSuffix(p.Package, "/"+pkg) {
			return p.Detail
		}
	}
	t.Fatalf("no problem of %s", pkg)
	return ""
}

func TestEachFailureIsReportedAsWhatItWas(t *testing.T) {
	packages := []string{"onekernel", "exits", "floods", "killed", "loops", "panics", "reboots", "hangs", "fine"}
	r := runPackages(t, "direct", []string{"5.10", "6.1", "6.12"}, packages...)
	same := []string{
		"exits: TestExits3: exit status 3",
		"floods: TestPrints10MB: failed",
		"killed: TestIsKilled: killed by SIGKILL",
		"loops: TestLoopsForEver: time limit of 20s passed (exit status 2)",
		"panics: TestPanicsTheGuest: guest panic: sysrq triggered crash",
		"reboots: TestReboots: guest rebooted",
		"hangs: TestHangs: guest hung: no event for 50s",
	}
	states := []string{"exits failed", "floods failed", "killed failed", "loops failed", "panics died", "reboots died", "hangs died", "fine passed"}
	only := []string{"onekernel: TestFailsOn61: failed"}
	elsewhere := slices.Concat([]string{"onekernel passed"}, states, same)
	want := map[string][]string{
		"5.10": elsewhere,
		"6.1":  slices.Concat([]string{"onekernel failed"}, states, only, same),
		"6.12": elsewhere,
	}
	for _, k := range r.Kernels {
		if diff := cmp.Diff(want[k.Name], summary(k)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", k.Name, diff)
		}
		if d := detail(t, k, "panics"); !strings.Contains(d, "Kernel panic") {
			t.Errorf("%s: the end of the console is missing:\n%s", k.Name, d)
		}
		if d := detail(t, k, "floods"); !strings.Contains(d, "the end of the flood") {
			t.Errorf("%s: the end of the output is missing", k.Name)
		}
	}
}

func TestSkipsAreHeldAgainstTheProbe(t *testing.T) {
	r := runPackages(t, "direct", []string{"6.12"}, "skips")
	want := []string{
		"skips passed",
		"skips: TestSkipsForWhatIsThere: skipped for feature btf, which this kernel must have",
		"skips: TestSkipsForSomethingElse: skipped for feature zeal, which no probe knows",
		"skips: TestSkipsWithoutAReason: skipped without naming a missing feature",
	}
	if diff := cmp.Diff(want, summary(r.Kernels[0])); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestVirtmeNGReportsAPanicToo(t *testing.T) {
	r := runPackages(t, "virtme-ng", []string{"7.2"}, "exits", "panics")
	want := []string{
		"exits failed", "panics died",
		"exits: TestExits3: exit status 3", "panics: TestPanicsTheGuest: guest panic: sysrq triggered crash",
	}
	if diff := cmp.Diff(want, summary(r.Kernels[0])); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A kernel that cannot boot is reported, and does not affect the others.
func TestAMachineThatDoesNotComeUp(t *testing.T) {
	image := filepath.Join(t.TempDir(), "vmlinuz")
	if err := os.WriteFile(image, brokenImage(), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("VMTEST_ACCEL", "tcg")
	r := runPackages(t, "direct", []string{image, "6.12"}, "fine")
	if diff := cmp.Diff([]string{"fine passed"}, summary(r.Kernels[1])); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	got := summary(r.Kernels[0])
	if len(got) != 2 || got[0] != "fine not run" || !strings.HasPrefix(got[1], "VM did not come up") && !strings.HasPrefix(got[1], "VM ended before it came up") {
		t.Errorf("%q", got)
	}
}

// brokenImage returns a bzImage with a valid header whose code only halts.
func brokenImage() []byte {
	image := make([]byte, 64<<10)
	image[0x1f1] = 1
	copy(image[0x1fe:], "\x55\xaa")
	copy(image[0x202:], "HdrS\x0f\x02")
	image[0x211] = 1 // LOADED_HIGH
	image[0x20e], image[0x20f] = 0x00, 0x01
	copy(image[0x300:], "0.0-broken (nobody) #1\x00")
	// Fill the protected-mode part, whose entry point is at offset 0x200, with "hlt; jmp to the
	// hlt".
	for i := 1024; i < len(image); i++ {
		image[i] = 0xf4
	}
	return image
}

// goTest runs go test in dir with -exec vmtest, on a kernel with the direct runner. It returns the
// output and error of go test.
func goTest(t *testing.T, kernel, dir string, args ...string) ([]byte, error) {
	t.Helper()
	return goTestWith(t, "direct", kernel, dir, args...)
}

// goTestWith is goTest with the given runner.
func goTestWith(t *testing.T, runner, kernel, dir string, args ...string) ([]byte, error) {
	t.Helper()
	t.Setenv("VMTEST_TEST_AS_COMMAND", "1")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", slices.Concat([]string{"test", "-exec", exe + " -runner " + runner + " -kernel " + kernel + " --"}, args)...)
	cmd.Dir = dir
	return cmd.CombinedOutput()
}

// module creates a Go module with one test file and returns its directory.
func module(t *testing.T, test string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module x\n\ngo 1.24\n", "x_test.go": test} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A test run by go test -exec can read files of its package and write a coverage profile.
func TestExecOfGoTest(t *testing.T) {
	for pkg, want := range map[string]string{"fine": "ok  ", "exits": "FAIL", "onekernel": "on 6.1.", "panics": "the last line\n"} {
		profile := filepath.Join(t.TempDir(), "cover.out")
		out, err := goTest(t, "6.1", ".", "-count=1", "-coverprofile="+profile, "./testdata/"+pkg)
		if (err == nil) != (pkg == "fine") || !bytes.Contains(out, []byte(want)) {
			t.Errorf("%s: %v\n%s", pkg, err, out)
		}
		if pkg != "fine" {
			continue
		}
		if text, err := os.ReadFile(profile); err != nil || !bytes.HasPrefix(text, []byte("mode:")) {
			t.Errorf("no coverage profile: %v\n%s", err, out)
		}
	}
}

func TestTheEnvironmentReachesTheGuest(t *testing.T) {
	dir := module(t, `package x

import (
	"os"
	"testing"
)

func TestVariables(t *testing.T) {
	if got := os.Getenv("RBTOOL_TEST_VARIABLE"); got != "a b=c" {
		t.Errorf("RBTOOL_TEST_VARIABLE is %q", got)
	}
	if got := os.Getenv("HOME"); got != "/tmp" {
		t.Errorf("HOME is %q", got)
	}
}
`)
	t.Setenv("RBTOOL_TEST_VARIABLE", "a b=c")
	if out, err := goTest(t, "6.12", dir); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// The fuzzer's failing input is written to the host, and later runs of go test use it.
func TestFuzzing(t *testing.T) {
	dir := module(t, `package x

import "testing"

func FuzzFirstByte(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 0 && b[0] > '0' {
			t.Error("found")
		}
	})
}
`)
	out, err := goTest(t, "6.12", dir, "-fuzz=Fuzz", "-fuzztime=60s")
	found, _ := filepath.Glob(filepath.Join(dir, "testdata", "fuzz", "FuzzFirstByte", "*"))
	if err == nil || !bytes.Contains(out, []byte("Failing input written")) || len(found) != 1 {
		t.Errorf("%v, %d inputs\n%s", err, len(found), out)
	}
	if out, err := goTest(t, "6.12", dir); err == nil || !bytes.Contains(out, []byte("FuzzFirstByte/"+filepath.Base(found[0]))) {
		t.Errorf("with the input: %v\n%s", err, out)
	}
}

// onBothRunners runs a test with each runner, on a different kernel each.
func onBothRunners(t *testing.T, test func(t *testing.T, runner, kernel string)) {
	for runner, kernel := range map[string]string{"direct": "5.10", "virtme-ng": "7.2"} {
		t.Run(runner, func(t *testing.T) { test(t, runner, kernel) })
	}
}

// All lines of the output arrive in order, and writing a line takes less than a millisecond.
func TestManyLines(t *testing.T) {
	dir := module(t, `package x

import (
	"fmt"
	"testing"
	"time"
)

func TestLines(t *testing.T) {
	begin := time.Now()
	for i := range 200_000 {
		fmt.Println("line", i)
	}
	if took := time.Since(begin); took > 40*time.Second {
		t.Errorf("200,000 lines took %v", took)
	}
}
`)
	onBothRunners(t, func(t *testing.T, runner, kernel string) {
		out, err := goTestWith(t, runner, kernel, dir, "-v")
		if n := numbered(out); err != nil || n != 200_000 {
			t.Errorf("%v, %d lines in order\n%s", err, n, out[max(0, len(out)-1000):])
		}
	})
}

// numbered returns how many of the lines "line 0", "line 1", ... out has in order.
func numbered(out []byte) int {
	n := 0
	for line := range bytes.Lines(out) {
		if string(line) == fmt.Sprintf("line %d\n", n) {
			n++
		}
	}
	return n
}

// When the write of a line returns, the line is on the host: it is not lost if the guest panics
// next, also while another process writes.
func TestTheLastLineBeforeAPanicArrives(t *testing.T) {
	dir := module(t, `package x

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

func TestPanicsTheGuest(t *testing.T) {
	if _, err := os.Stat("/media/plan.json"); err != nil {
		t.Fatalf("not in a guest of vmtest: %v", err)
	}
	noise := exec.Command("/bin/sh", "-c", "echo noise; echo started >&2; while :; do echo noise; done")
	noise.Stdout = os.Stdout
	started, err := noise.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := noise.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(started).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	trigger, err := os.OpenFile("/proc/sysrq-trigger", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		fmt.Println("line", i)
	}
	trigger.WriteString("c")
}
`)
	onBothRunners(t, func(t *testing.T, runner, kernel string) {
		out, err := goTestWith(t, runner, kernel, dir)
		n := numbered(out)
		if err == nil || n != 1000 || !bytes.Contains(out, []byte("noise\n")) || !bytes.Contains(out, []byte("guest panic")) {
			t.Errorf("%v, %d lines in order\n%s", err, n, out[max(0, len(out)-1000):])
		}
	})
}

// A process that a test binary leaves running in a session of its own does not write into the
// output of the next binary.
func TestOutputIsOfOneBinary(t *testing.T) {
	r := runPackages(t, "direct", []string{"6.12"}, "leaves", "exits")
	want := []string{"leaves passed", "exits failed", "exits: TestExits3: exit status 3"}
	if diff := cmp.Diff(want, summary(r.Kernels[0])); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if d := detail(t, r.Kernels[0], "exits"); strings.Contains(d, "noise") {
		t.Errorf("output of another binary:\n%s", d)
	}
}

package main

import (
	"errors"
	"flag"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/vmtest/kernels"
	"github.com/rbtool/rbtool/vmtest/vm"
)

func parsed(t *testing.T, args string) (options, error) {
	t.Helper()
	t.Setenv("VMTEST_CACHE", "/cache")
	return parse(strings.Fields(args), kernels.List{Kernels: []string{"5.10", "6.1", "6.1/arm64"}}, io.Discard)
}

func TestTheCommandLineSaysWhatToDo(t *testing.T) {
	type short struct {
		command command
		kernels []string
		runner  string
		args    []string
	}
	for args, want := range map[string]short{
		"":                                       {runMatrix, []string{"5.10", "6.1"}, "virtme-ng", []string{"./..."}},
		"-arch arm64":                            {runMatrix, []string{"6.1/arm64"}, "virtme-ng", []string{"./..."}},
		"-arch amd64":                            {runMatrix, []string{"5.10", "6.1"}, "virtme-ng", []string{"./..."}},
		"-kernel 7.2/arm64":                      {runMatrix, []string{"7.2/arm64"}, "virtme-ng", []string{"./..."}},
		"-arch amd64,arm64":                      {runMatrix, []string{"5.10", "6.1", "6.1/arm64"}, "virtme-ng", []string{"./..."}},
		"-arch amd64,arm64 -kernel 7.2":          {runMatrix, []string{"7.2", "7.2/arm64"}, "virtme-ng", []string{"./..."}},
		"-arch arm64 -kernel 7.2-16k -- /x.test": {runBinary, []string{"7.2-16k/arm64"}, "direct", []string{"/x.test"}},
		"-arch arm64 -kernel /boot/vmlinuz ./a":  {runMatrix, []string{"/boot/vmlinuz"}, "virtme-ng", []string{"./a"}},
		"-kernels 6.1,7.2 ./a ./b":               {runMatrix, []string{"6.1", "7.2"}, "virtme-ng", []string{"./a", "./b"}},
		"-kernel /boot/vmlinuz ./a":              {runMatrix, []string{"/boot/vmlinuz"}, "virtme-ng", []string{"./a"}},
		"-kernel 6.1 -- /x.test -a":              {runBinary, []string{"6.1"}, "direct", []string{"/x.test", "-a"}},
		"shell -kernel 6.1":                      {runShell, []string{"6.1"}, "direct", nil},
		"-runner direct -kernel 6.1 ./a":         {runMatrix, []string{"6.1"}, "direct", []string{"./a"}},
	} {
		o, err := parsed(t, args)
		if err != nil {
			t.Errorf("%q: %v", args, err)
			continue
		}
		got := short{o.command, o.kernels, o.runner, o.args}
		if len(got.args) == 0 {
			got.args = nil
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(short{})); diff != "" {
			t.Errorf("%q: -want +got:\n%s", args, diff)
		}
	}
}

func TestWhatMakesNoSenseIsRefused(t *testing.T) {
	for args, want := range map[string]string{
		"-runner walker":                      `unknown runner "walker" (direct or virtme-ng)`,
		"shell":                               "option -kernel is missing",
		"-- /x.test":                          "option -kernel is missing",
		"-kernel 6.1 --":                      "test binary is missing after --",
		"shell -kernel 6.1 -runner virtme-ng": "a shell needs -runner direct",
		"-arch vax":                           `unknown architecture "vax" (amd64 or arm64)`,
		"shell -arch amd64,arm64 -kernel 6.1": "one machine needs one architecture in -arch",
		"-parallel 0":                         "-cpus, -memory, -parallel and -timeout must be positive",
	} {
		if _, err := parsed(t, args); err == nil || err.Error() != want {
			t.Errorf("%q: %v", args, err)
		}
	}
	if _, err := parsed(t, "-h"); !errors.Is(err, flag.ErrHelp) {
		t.Error(err)
	}
}

func TestDirectoriesThatTheGuestCoversAreShared(t *testing.T) {
	var m vm.Machine
	addShare(&m, "/home/me/src", false)
	addShare(&m, "/tmp/go-build1/b001", true)
	addShare(&m, "/tmp/go-build1/b001/x", false)
	addShare(&m, "/tmp/src", false)
	addShare(&m, "/tmpfoo", false)
	want := []vm.Share{{Path: "/tmp/go-build1/b001", Writable: true}, {Path: "/tmp/src"}}
	if diff := cmp.Diff(want, m.Shares); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWhereATestBinaryWrites(t *testing.T) {
	args := []string{"-test.v=true", "-test.testlogfile=/tmp/b001/testlog.txt", "-test.coverprofile=c.out", "-test.outputdir=/out"}
	if diff := cmp.Diff([]string{"/tmp/b001", "/here", "/out"}, written(args, "/here")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got := limitOf([]string{"-test.timeout=10m0s"}, time.Second); got != 10*time.Minute {
		t.Error(got)
	}
}

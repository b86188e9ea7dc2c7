package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTheCallersVariablesReachTheGuest(t *testing.T) {
	for _, v := range []string{"RBTOOL_X=1", "GODEBUG=gctrace=1", "GOTRACEBACK=all", "NO_COLOR=", "_X=1", "GOPATHS=1", "LANGUAGES=x"} {
		if got := passedOn([]string{v}); len(got) != 1 {
			t.Errorf("%s is left out", v)
		}
	}
	for _, v := range []string{"PATH=/bin", "HOME=/root", "TMPDIR=/x", "GOCACHE=/c", "XDG_CACHE_HOME=/c", "VMTEST_CACHE=/c", "LC_ALL=C", "_=/usr/bin/env"} {
		if got := passedOn([]string{v}); len(got) != 0 {
			t.Errorf("%s is passed on", v)
		}
	}
}

func TestWhatATestBinaryMayWrite(t *testing.T) {
	for args, want := range map[string][]string{
		"-test.v=true":                        nil,
		"-test.coverprofile=c.out":            {"/pkg"},
		"-test.outputdir=/out":                {"/out"},
		"-test.fuzz=^FuzzX$":                  {"/pkg/testdata/fuzz"},
		"-test.fuzzcachedir=/cache/fuzz/pkg":  {"/cache/fuzz/pkg"},
		"-test.run=fuzz -test.fuzztime=10s":   nil,
		"-test.memprofile=/m -test.trace=a/t": {"/", "/pkg/a"},
	} {
		if diff := cmp.Diff(want, written(strings.Fields(args), "/pkg")); diff != "" {
			t.Errorf("%s: -want +got:\n%s", args, diff)
		}
	}
}

func TestDirectoriesMadeForNothingAreRemoved(t *testing.T) {
	dir := t.TempDir()
	for _, left := range []bool{false, true} {
		dirs, undo, err := writable([]string{"-test.fuzz=^FuzzX$"}, dir)
		if err != nil {
			t.Fatal(err)
		}
		if left {
			if err := os.WriteFile(filepath.Join(dirs[0], "input"), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		undo()
		if _, err := os.Stat(filepath.Join(dir, "testdata")); (err == nil) != left {
			t.Errorf("something left %v: %v", left, err)
		}
	}
}

func TestTheLimitOfATestBinary(t *testing.T) {
	for args, want := range map[string]time.Duration{
		"":                                    5 * time.Minute,
		"-test.timeout=10s":                   10 * time.Second,
		"-test.timeout=0":                     5 * time.Minute,
		"-test.fuzz=X -test.fuzztime=30s":     5*time.Minute + 30*time.Second,
		"-test.fuzztime=30s -test.fuzz=X":     5*time.Minute + 30*time.Second,
		"-test.fuzz=X":                        5*time.Minute + endless,
		"-test.fuzz=X -test.fuzztime=100x":    5*time.Minute + endless,
		"-test.timeout=10s -test.fuzz=FuzzXY": 10*time.Second + endless,
	} {
		if got := limitOf(strings.Fields(args), 5*time.Minute); got != want {
			t.Errorf("%q: %v, want %v", args, got, want)
		}
	}
}

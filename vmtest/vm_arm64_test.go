//go:build vm

package main

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/vmtest/kernels"
)

// Guests of another architecture than the host's report failures as others do.
func TestGuestsOfArm64(t *testing.T) {
	r := runPackages(t, "virtme-ng", []string{"6.12/arm64", "7.2-16k/arm64"}, "exits", "panics", "fine")
	want := []string{
		"exits failed", "panics died", "fine passed",
		"exits: TestExits3: exit status 3", "panics: TestPanicsTheGuest: guest panic: sysrq triggered crash",
	}
	for _, k := range r.Kernels {
		if diff := cmp.Diff(want, summary(k)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", k.Name, diff)
		}
		if k.Runner != "direct" {
			t.Errorf("%s: runner %s", k.Name, k.Runner)
		}
	}
}

// The image of a kernel says its architecture.
func TestAnImageOfArm64(t *testing.T) {
	known, err := kernels.Known()
	if err != nil {
		t.Fatal(err)
	}
	cache, err := cacheDir()
	if err != nil {
		t.Fatal(err)
	}
	k, err := kernels.Store{Dir: cache, List: known}.Kernel(t.Context(), "6.12/arm64")
	if err != nil {
		t.Fatal(err)
	}
	r := runPackages(t, "direct", []string{filepath.Clean(k.Image)}, "fine")
	if diff := cmp.Diff([]string{"fine passed"}, summary(r.Kernels[0])); diff != "" || r.Kernels[0].Release != k.Release {
		t.Errorf("release %s, -want +got:\n%s", r.Kernels[0].Release, diff)
	}
}

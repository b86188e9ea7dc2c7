package kernels

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/feature"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestTheListIsWhole(t *testing.T) {
	l, err := Known()
	if err != nil {
		t.Fatal(err)
	}
	if l.Env != testenv.RequiredFeatures {
		t.Errorf("the tests read %s, not %s", testenv.RequiredFeatures, l.Env)
	}
	if !slices.IsSortedFunc(l.Series, compare) {
		t.Errorf("kernels out of order: %v", l.Series)
	}
	var listed, probed []string
	for _, f := range l.Features {
		listed = append(listed, f.Name)
	}
	for _, f := range feature.All() {
		probed = append(probed, f.Name)
	}
	slices.Sort(listed)
	slices.Sort(probed)
	if diff := cmp.Diff(probed, listed); diff != "" {
		t.Errorf("-probed +listed:\n%s", diff)
	}
}

func TestAKernelHasWhatCameBeforeIt(t *testing.T) {
	l, err := parse("kernel 5.10\nkernel 6.1 # why\nfeature old 5.9\nfeature new 6.1\nfeature odd -\nfeature own host\n")
	if err != nil {
		t.Fatal(err)
	}
	if own := (Feature{Name: "own", Host: true}); !slices.Contains(l.Features, own) {
		t.Errorf("features %+v lack %+v", l.Features, own)
	}
	for series, want := range map[string][2][]string{
		"5.10": {{"old"}, {"new"}},
		"6.1":  {{"old", "new"}, nil},
		"6.2":  {nil, nil}, // not in the list: its features are unknown
		"":     {nil, nil},
	} {
		if diff := cmp.Diff(want, [2][]string{l.Required(series), l.Absent(series)}); diff != "" {
			t.Errorf("%s: -want +got:\n%s", series, diff)
		}
	}
}

func TestWhatIsWrongInTheListIsSaid(t *testing.T) {
	for text, want := range map[string]string{
		"kernel":          "read kernels.txt: line 1: directive kernel has 0 arguments, want 1",
		"\nkernel six":    `read kernels.txt: line 2: "six" is not a kernel series such as 6.12`,
		"feature a":       "read kernels.txt: line 1: directive feature has 1 arguments, want 2",
		"feature a b.c":   `read kernels.txt: line 1: "b.c" is not a kernel series such as 6.12`,
		"colonel mustard": `read kernels.txt: line 1: unknown directive "colonel"`,
	} {
		if _, err := parse(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestWhichPackagesAreKernelsOfASeries(t *testing.T) {
	for name, want := range map[string]bool{
		"linux-image-6.1.0-56-amd64":          true,
		"linux-image-6.1-amd64":               false, // a metapackage
		"linux-image-6.12.117+deb13-amd64":    false,
		"linux-image-6.1.0-56-amd64-unsigned": false,
		"linux-binary-6.1.3+deb14-amd64":      true,
		"linux-binary-6.10+deb14-amd64":       false,
		"linux-headers-6.1.0-56-amd64":        false,
	} {
		if got := kernelPackages("6.1").MatchString(name); got != want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestATreeIsNamedByTheRelease(t *testing.T) {
	for p, want := range map[pkg]string{
		{"linux-image-6.1.0-56-amd64", "6.1.192-2"}: "6.1.0-56-amd64",
		{"virtme-ng", "1.35-1"}:                     "virtme-ng_1.35-1",
	} {
		if got := treeName(p); got != want {
			t.Errorf("%v: %s", p, got)
		}
	}
}

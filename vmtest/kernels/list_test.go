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
	for _, arch := range Architectures {
		var series []string
		for _, k := range l.Kernels {
			if n, err := ParseName(k); err == nil && n.Arch == arch {
				series = append(series, n.Series)
			}
		}
		if len(series) == 0 || !slices.IsSortedFunc(series, compare) {
			t.Errorf("kernels of %s out of order: %v", arch, series)
		}
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
	l, err := parse("kernel 5.10\nkernel 6.1 # why\nkernel 6.1-16k/arm64\nfeature old 5.9 arm64=6.3\nfeature new 6.1\nfeature odd -\nfeature own host\nfeature less 5.5 arm64=-\nfeature gone 5.5..5.10\nfeature moved 5.5..5.10 arm64=6.0..6.1\n")
	if err != nil {
		t.Fatal(err)
	}
	if own := (Feature{Name: "own", Host: true}); !slices.ContainsFunc(l.Features, func(f Feature) bool { return cmp.Equal(f, own) }) {
		t.Errorf("features %+v lack %+v", l.Features, own)
	}
	for series, want := range map[string][2][]string{
		"5.10":          {{"old", "less", "gone", "moved"}, {"new"}},
		"6.1":           {{"old", "new", "less"}, {"gone", "moved"}},
		"6.1-16k/arm64": {{"new", "moved"}, {"old", "gone"}},
		"6.2":           {nil, nil}, // not in the list: its features are unknown
		"6.1/arm64":     {nil, nil},
		"":              {nil, nil},
	} {
		if diff := cmp.Diff(want, [2][]string{l.Required(series), l.Absent(series)}); diff != "" {
			t.Errorf("%s: -want +got:\n%s", series, diff)
		}
	}
}

func TestWhatIsWrongInTheListIsSaid(t *testing.T) {
	for text, want := range map[string]string{
		"kernel":         "read kernels.txt: line 1: directive kernel has 0 arguments, want 1",
		"\nkernel six":   `read kernels.txt: line 2: "six" is not a kernel such as 6.12 or 7.2-16k/arm64`,
		"kernel 6.1/vax": `read kernels.txt: line 1: unknown architecture "vax" (amd64 or arm64)`,
		"feature a - b":  `read kernels.txt: line 1: "b" is not ARCH=SERIES`,

		"feature a":           "read kernels.txt: line 1: directive feature has 1 arguments, want 2",
		"feature a b.c":       `read kernels.txt: line 1: "b.c" is not a kernel series such as 6.12`,
		"feature a 5.5..":     `read kernels.txt: line 1: "" is not a kernel series such as 6.12`,
		"feature a 6..5":      `read kernels.txt: line 1: "6" is not a kernel series such as 6.12`,
		"feature a 6.1..5.10": "read kernels.txt: line 1: 6.1..5.10 ends before it begins",
		"colonel mustard":     `read kernels.txt: line 1: unknown directive "colonel"`,
	} {
		if _, err := parse(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestWhichPackagesAreThoseOfAKernel(t *testing.T) {
	for name, want := range map[string]string{
		"linux-image-6.1.0-56-amd64":          "6.1",
		"linux-image-6.1-amd64":               "", // a metapackage
		"linux-image-6.12.117+deb13-amd64":    "",
		"linux-image-6.1.0-56-amd64-unsigned": "",
		"linux-binary-6.1.3+deb14-amd64":      "6.1",
		"linux-binary-6.10+deb14-amd64":       "",
		"linux-headers-6.1.0-56-amd64":        "",
		"linux-binary-6.1.3+deb14-arm64":      "6.1/arm64",
		"linux-binary-6.1.3+deb14-arm64-16k":  "6.1-16k/arm64",
	} {
		var got string
		for _, kernel := range []string{"6.1", "6.1/arm64", "6.1-16k/arm64"} {
			n, err := ParseName(kernel)
			if err != nil || n.String() != kernel {
				t.Errorf("%s: %v, %v", kernel, n, err)
			}
			if kernelPackages(n).MatchString(name) {
				got += kernel
			}
		}
		if got != want {
			t.Errorf("%s is of kernel %q, want %q", name, got, want)
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

// Package kernels fetches the kernels that vmtest boots, and tells which features each of them must
// have. kernels.txt lists both.
//
// Kernels are Debian packages from the mirrors that the machine's apt uses. The package downloads
// them with a private apt configuration in the cache directory, so that apt verifies them, and
// unpacks them without installing them.
package kernels

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed kernels.txt
var text string

// List is the content of kernels.txt.
type List struct {
	// Kernels are the kernels to test, such as "6.12" and "7.2-16k/arm64", oldest first for each
	// architecture.
	Kernels []string
	// Features are the features listed, in the order of kernels.txt.
	Features []Feature
	// Debian and Security are the suites to search for kernels.
	Debian, Security []string
	// VirtmeNG is the Debian package of virtme-ng, as PACKAGE=VERSION.
	VirtmeNG string
	// Userland is the suite of the programs of guests whose architecture is not the host's, and
	// Programs are the packages.
	Userland string
	Programs []string
	// Env is the name of the environment variable that tells tests which features the kernel must
	// have.
	Env string
}

// Feature is a kernel feature that tests may need.
type Feature struct {
	Name string
	// In are the series with the feature.
	In Span
	// On has those of architectures that differ.
	On map[string]Span
	// Host means that only the machine that runs vmtest may have the feature, not its guests.
	Host bool
}

// Span is a range of series.
type Span struct {
	// Since is the first, empty if more than the version decides.
	Since string
	// Until is the last, empty if there is none.
	Until string
}

// in returns the series of arch that have the feature.
func (f Feature) in(arch string) Span {
	if s, ok := f.On[arch]; ok {
		return s
	}
	return f.In
}

// has reports whether the range has a series.
func (s Span) has(series string) bool {
	return compare(s.Since, series) <= 0 && (s.Until == "" || compare(series, s.Until) <= 0)
}

// Known returns the list in kernels.txt, which is embedded in vmtest.
func Known() (List, error) {
	return parse(text)
}

func parse(text string) (List, error) {
	var l List
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if err := l.directive(words[0], words[1:]); err != nil {
			return List{}, fmt.Errorf("read kernels.txt: line %d: %w", i+1, err)
		}
	}
	return l, nil
}

// arguments has the directives that take more than one argument: the least and the most.
var arguments = map[string][2]int{"feature": {2, 3}, "userland": {2, 100}}

func (l *List) directive(name string, args []string) error {
	want, ok := arguments[name]
	if !ok {
		want = [2]int{1, 1}
	}
	if len(args) < want[0] || len(args) > want[1] {
		return fmt.Errorf("directive %s has %d arguments, want %d", name, len(args), want[0])
	}
	switch name {
	case "kernel":
		l.Kernels = append(l.Kernels, args[0])
		_, err := ParseName(args[0])
		return err
	case "feature":
		return l.feature(args)
	case "debian":
		l.Debian = append(l.Debian, args[0])
	case "security":
		l.Security = append(l.Security, args[0])
	case "virtme-ng":
		l.VirtmeNG = args[0]
	case "userland":
		l.Userland, l.Programs = args[0], args[1:]
	case "env":
		l.Env = args[0]
	default:
		return fmt.Errorf("unknown directive %q", name)
	}
	return nil
}

// feature adds the feature with these arguments: its name, the series that have it, and the
// same for another architecture, as ARCH=SINCE..UNTIL.
func (l *List) feature(args []string) error {
	f := Feature{Name: args[0], Host: args[1] == "host"}
	var err error
	if !f.Host {
		f.In, err = parseSpan(args[1])
	}
	if len(args) > 2 && err == nil {
		arch, span, ok := strings.Cut(args[2], "=")
		if !ok {
			return fmt.Errorf("%q is not ARCH=SERIES", args[2])
		}
		f.On = map[string]Span{}
		if f.On[arch], err = parseSpan(span); err == nil {
			err = CheckArch(arch)
		}
	}
	l.Features = append(l.Features, f)
	return err
}

// parseSpan parses a range of series as in kernels.txt: SINCE, SINCE..UNTIL, or the "-" that stands for none.
func parseSpan(text string) (s Span, err error) {
	if text == "-" {
		return s, nil
	}
	since, until, bounded := strings.Cut(text, "..")
	if err := checkSeries(since); err != nil || !bounded {
		return Span{Since: since}, err
	}
	if err := checkSeries(until); err != nil {
		return s, err
	}
	if compare(since, until) > 0 {
		return s, fmt.Errorf("%s ends before it begins", text)
	}
	return Span{since, until}, nil
}

// Of returns the kernels of these architectures.
func (l List) Of(archs []string) []string {
	var names []string
	for _, k := range l.Kernels {
		if n, err := ParseName(k); err == nil && slices.Contains(archs, n.Arch) {
			names = append(names, k)
		}
	}
	return names
}

// Required returns the features that the kernel with this name must have.
func (l List) Required(kernel string) []string {
	return l.split(kernel, true)
}

// Absent returns the features that the kernel with this name must not have.
func (l List) Absent(kernel string) []string {
	return l.split(kernel, false)
}

// split returns the features whose presence in a kernel is has. For a kernel that is not in the
// list it returns none, since its configuration is unknown.
func (l List) split(kernel string, has bool) []string {
	if !slices.Contains(l.Kernels, kernel) {
		return nil
	}
	k, err := ParseName(kernel)
	if err != nil {
		return nil // the list has been checked
	}
	var names []string
	for _, f := range l.Features {
		if in := f.in(k.Arch); in.Since != "" && in.has(k.Series) == has {
			names = append(names, f.Name)
		}
	}
	return names
}

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
	"strconv"
	"strings"
)

//go:embed kernels.txt
var text string

// List is the content of kernels.txt.
type List struct {
	// Series are the kernels to test, such as "6.12", oldest first.
	Series []string
	// Features are the features listed, in the order of kernels.txt.
	Features []Feature
	// Debian and Security are the suites to search for kernels.
	Debian, Security []string
	// VirtmeNG is the Debian package of virtme-ng, as PACKAGE=VERSION.
	VirtmeNG string
	// Env is the name of the environment variable that tells tests which features the kernel must
	// have.
	Env string
}

// Feature is a kernel feature that tests may need.
type Feature struct {
	Name string
	// Since is the first series with the feature, empty if it depends on more than the version.
	Since string
	// Host means that only the machine that runs vmtest may have the feature, not its guests.
	Host bool
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

func (l *List) directive(name string, args []string) error {
	want := 1
	if name == "feature" {
		want = 2
	}
	if len(args) != want {
		return fmt.Errorf("directive %s has %d arguments, want %d", name, len(args), want)
	}
	switch name {
	case "kernel":
		l.Series = append(l.Series, args[0])
		return checkSeries(args[0])
	case "feature":
		f := Feature{Name: args[0], Host: args[1] == "host"}
		if args[1] != "-" && !f.Host {
			f.Since = args[1]
			if err := checkSeries(f.Since); err != nil {
				return err
			}
		}
		l.Features = append(l.Features, f)
	case "debian":
		l.Debian = append(l.Debian, args[0])
	case "security":
		l.Security = append(l.Security, args[0])
	case "virtme-ng":
		l.VirtmeNG = args[0]
	case "env":
		l.Env = args[0]
	default:
		return fmt.Errorf("unknown directive %q", name)
	}
	return nil
}

// Required returns the features that a kernel of series must have.
func (l List) Required(series string) []string {
	return l.split(series, true)
}

// Absent returns the features that a kernel of series must not have.
func (l List) Absent(series string) []string {
	return l.split(series, false)
}

// split returns the features whose presence in a kernel of series is has. For a kernel that is not
// in the list it returns none, since its configuration is unknown.
func (l List) split(series string, has bool) []string {
	if !slices.Contains(l.Series, series) {
		return nil
	}
	var names []string
	for _, f := range l.Features {
		if f.Since != "" && (compare(f.Since, series) <= 0) == has {
			names = append(names, f.Name)
		}
	}
	return names
}

func checkSeries(s string) error {
	if _, _, ok := numbers(s); !ok {
		return fmt.Errorf("%q is not a kernel series such as 6.12", s)
	}
	return nil
}

func numbers(series string) (major, minor int, ok bool) {
	a, b, ok := strings.Cut(series, ".")
	major, err1 := strconv.Atoi(a)
	minor, err2 := strconv.Atoi(b)
	return major, minor, ok && err1 == nil && err2 == nil
}

// compare orders series numerically: 5.9 is before 5.10.
func compare(a, b string) int {
	aMajor, aMinor, _ := numbers(a)
	bMajor, bMinor, _ := numbers(b)
	if aMajor != bMajor {
		return aMajor - bMajor
	}
	return aMinor - bMinor
}

package kernels

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Architectures are the architectures that guests can have, as GOARCH values. A name without an
// architecture denotes the first.
var Architectures = []string{"amd64", "arm64"}

// Name is the parsed name of a kernel in kernels.txt, such as 6.12 or 7.2-16k/arm64.
type Name struct {
	// Series is the version without its last number, such as "6.12".
	Series string
	// Flavour is the variant of Debian's package, "16k" for pages of 16 KiB, or empty.
	Flavour string
	// Arch is the architecture, as a GOARCH value.
	Arch string
}

var namePattern = regexp.MustCompile(`^(\d+\.\d+)(?:-([0-9a-z]+))?(?:/([0-9a-z]+))?$`)

// IsName reports whether s has the form of a kernel's name. Other strings are paths and tags.
func IsName(s string) bool { return namePattern.MatchString(s) }

// ParseName parses a name.
func ParseName(s string) (Name, error) {
	m := namePattern.FindStringSubmatch(s)
	if m == nil {
		return Name{}, fmt.Errorf("%q is not a kernel such as 6.12 or 7.2-16k/arm64", s)
	}
	n := Name{Series: m[1], Flavour: m[2], Arch: cmp.Or(m[3], Architectures[0])}
	return n, CheckArch(n.Arch)
}

// CheckArch returns an error if guests cannot have this architecture.
func CheckArch(arch string) error {
	if !slices.Contains(Architectures, arch) {
		return fmt.Errorf("unknown architecture %q (%s)", arch, strings.Join(Architectures, " or "))
	}
	return nil
}

// String returns the name as [ParseName] parses it.
func (n Name) String() string {
	s := n.Series
	if n.Flavour != "" {
		s += "-" + n.Flavour
	}
	if n.Arch != Architectures[0] {
		s += "/" + n.Arch
	}
	return s
}

// debian returns the end of the names of Debian's packages of the kernel, such as "arm64-16k".
func (n Name) debian() string {
	if n.Flavour == "" {
		return n.Arch
	}
	return n.Arch + "-" + n.Flavour
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

package command

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"regexp"
	"strconv"

	units "github.com/docker/go-units"
)

// Size is a flag for a number of bytes: "65536", "64K", "64KiB", "16m", "4GiB". Units are binary, in any case.
type Size uint64

// sizeText matches a number and, maybe, its unit.
var sizeText = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)( ?[A-Za-z]+)?$`)

func (s *Size) Set(text string) error {
	parts := sizeText.FindStringSubmatch(text)
	if parts == nil {
		return errSize
	}
	digits, suffix := parts[1], parts[2]
	unit := uint64(1)
	if suffix != "" {
		if last := suffix[len(suffix)-1]; last == 'i' || last == 'I' {
			suffix += "B" // Kubernetes writes 64Ki
		}
		n, err := units.RAMInBytes("1" + suffix)
		if err != nil {
			return errSize
		}
		unit = uint64(n)
	}
	n, err := times(digits, unit)
	if err != nil {
		return err
	}
	*s = Size(n)
	return nil
}

var errSize = errors.New("not a size such as 65536, 64K, 64KiB or 16M")

// times returns the product of a decimal number and a unit, which must be a whole number of bytes.
func times(digits string, unit uint64) (uint64, error) {
	if whole, err := strconv.ParseUint(digits, 10, 64); err == nil {
		high, n := bits.Mul64(whole, unit)
		if high != 0 {
			return 0, errSize
		}
		return n, nil
	}
	const exact = 1 << 53 // a float64 holds every integer below it
	f, err := strconv.ParseFloat(digits, 64)
	if f *= float64(unit); err != nil || f >= exact {
		return 0, errSize
	}
	if f != math.Trunc(f) {
		return 0, errors.New("not a whole number of bytes")
	}
	return uint64(f), nil
}

func (s *Size) Type() string { return "size" }

func (s *Size) String() string { return FormatSize(uint64(*s)) }

// FormatSize formats n bytes in the largest unit that divides them.
func FormatSize(n uint64) string {
	const abbreviations = " KMG"
	power := min(bits.TrailingZeros64(n)/10, len(abbreviations)-1)
	if n == 0 || power == 0 {
		return strconv.FormatUint(n, 10)
	}
	return strconv.FormatUint(n>>(10*power), 10) + abbreviations[power:power+1] + "iB"
}

// MaxRing is the size of the largest ring in bytes: max_entries is a u32 and a power of two.
const MaxRing = 1 << 31

// CheckRing returns an error unless n bytes is a valid size of a ring (kernel/bpf/ringbuf.c,
// ringbuf_map_alloc). page is the size of a page in bytes. The error names the nearest valid sizes.
func CheckRing(n, page uint64) error {
	if n&(n-1) == 0 && n >= page && n <= MaxRing {
		return nil
	}
	below, above := max(uint64(1)<<max(bits.Len64(n)-1, 0), page), page
	if n > page {
		above = uint64(1) << min(bits.Len64(n), 63)
	}
	near := fmt.Sprintf("%s or %s", FormatSize(min(below, MaxRing)), FormatSize(min(above, MaxRing)))
	if below == above || below >= MaxRing {
		near = FormatSize(min(below, MaxRing))
	}
	return fmt.Errorf("%d bytes: a ring's size is a power of two, a multiple of the page size of %d, and at most 2GiB (nearest: %s)",
		n, page, near)
}

// RoughSize formats n bytes for people, in four digits at most: "868KiB", "1.207MiB".
func RoughSize(n float64) string { return units.BytesSize(n) }

// Grouped formats n for people, with a comma before each three digits.
func Grouped(n uint64) string {
	text := strconv.FormatUint(n, 10)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

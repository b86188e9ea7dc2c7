package command

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// Size is a flag for a number of bytes: "65536", "64KiB", "16MiB", "4GiB".
type Size uint64

var units = []struct {
	suffix string
	shift  int
}{{"KiB", 10}, {"MiB", 20}, {"GiB", 30}}

func (s *Size) Set(text string) error {
	number, shift := text, 0
	for _, u := range units {
		if n, ok := strings.CutSuffix(text, u.suffix); ok {
			number, shift = n, u.shift
		}
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || n > math.MaxUint64>>shift {
		return errors.New("not a size such as 65536, 64KiB or 16MiB")
	}
	*s = Size(n << shift)
	return nil
}

func (s *Size) Type() string { return "size" }

func (s *Size) String() string { return FormatSize(uint64(*s)) }

// FormatSize formats n bytes in the largest unit that divides them.
func FormatSize(n uint64) string {
	for i := len(units) - 1; i >= 0; i-- {
		if u := units[i]; n != 0 && n&(1<<u.shift-1) == 0 {
			return strconv.FormatUint(n>>u.shift, 10) + u.suffix
		}
	}
	return strconv.FormatUint(n, 10)
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

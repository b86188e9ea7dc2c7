package decode

import (
	"math"
	"strconv"
	"testing"
)

func TestDigits(t *testing.T) {
	check := func(v uint64) {
		t.Helper()
		if got, want := string(appendUint([]byte("x"), v)), "x"+strconv.FormatUint(v, 10); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if got, want := string(appendInt(nil, int64(v))), strconv.FormatInt(int64(v), 10); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	for v := range uint64(1001) {
		check(v)
	}
	for _, p := range powers {
		check(p - 1)
		check(p)
		check(p + 1)
		check(-p)
	}
	for shift := range 64 {
		check(1 << shift)
		check(1<<shift - 1)
	}
	check(math.MaxUint64)
	check(math.MaxInt64)
}

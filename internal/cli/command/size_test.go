package command

import (
	"math"
	"testing"
	"time"
)

func TestSizes(t *testing.T) {
	for text, want := range map[string]uint64{
		"65536": 1 << 16, "64K": 1 << 16, "64k": 1 << 16, "64KiB": 1 << 16, "64kib": 1 << 16, "64KB": 1 << 16, "64Ki": 1 << 16, "64 KiB": 1 << 16,
		"16M": 16 << 20, "16MiB": 16 << 20, "4GiB": 4 << 30, "4g": 4 << 30, "1TiB": 1 << 40, "4096b": 4096, "0": 0, "0G": 0,
		"1.5K": 1536, "0.5GiB": 1 << 29,
		"18446744073709551615": math.MaxUint64, "9007199254740993": 1<<53 + 1, "9007199254740993K": (1<<53 + 1) << 10,
	} {
		var s Size
		if err := s.Set(text); err != nil || uint64(s) != want {
			t.Errorf("%q is %d, want %d; %v", text, s, want, err)
		}
	}
	for _, text := range []string{
		"", " ", "K", "KiB", "-1", "+1", "1e3", "0x10", "64X", "64KiBs", "64K64", "1.", ".5", "1.3K", "0.1", "many", "64 ", "K64", "1i", "1 i",
		"18446744073709551616", "17179869184GiB", "16384P", "99999999999999999999999.5K", "1.5.5K", "64\x00K",
	} {
		s := Size(7)
		if err := s.Set(text); err == nil || s != 7 {
			t.Errorf("%q is %d, %v", text, s, err)
		}
	}
}

// FormatSize writes sizes that Size reads back.
func TestFormatSize(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0", 1: "1", 1023: "1023", 1024: "1KiB", 1536: "1536", 4096: "4KiB", 3 << 20: "3MiB", 1<<30 + 1<<20: "1025MiB", 1 << 40: "1024GiB",
		math.MaxUint64: "18446744073709551615", 1 << 63: "8589934592GiB",
	} {
		if got := FormatSize(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
		var s Size
		if err := s.Set(FormatSize(n)); err != nil || uint64(s) != n {
			t.Errorf("%s is read as %d, %v", FormatSize(n), s, err)
		}
	}
}

func FuzzSize(f *testing.F) {
	for _, text := range []string{"64K", "1.5GiB", "1e9", "9999999999999999999", "1 kib", "0.0000001p"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var s, again Size
		if s.Set(text) != nil {
			return
		}
		if err := again.Set(s.String()); err != nil || again != s {
			t.Errorf("%q is %v, which is read as %d, %v", text, &s, again, err)
		}
	})
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"250ms": 250 * time.Millisecond, "10s": 10 * time.Second, "1h30m": 90 * time.Minute, "1d": 24 * time.Hour, "2d12h": 60 * time.Hour, "10": 10 * time.Second, "0.5": time.Second / 2,
	} {
		var d Duration
		if err := d.Set(text); err != nil || time.Duration(d) != want {
			t.Errorf("%q is %v, want %v; %v", text, time.Duration(d), want, err)
		}
	}
	for _, text := range []string{"", "0", "-1s", "-5", "soon", "d", "-1d", "1d-2h", "0.5d", "65535d999999h", "0x1d", "inf", "nan", "1e300", "0x10"} {
		var d Duration
		if err := d.Set(text); err == nil {
			t.Errorf("%q is %v", text, time.Duration(d))
		}
	}
}

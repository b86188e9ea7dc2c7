package command

import (
	"testing"
	"time"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/decode"
)

func TestTimesOfARecordedHost(t *testing.T) {
	const boot, second = 1_700_000_000_000_000_000, 1_000_000_000
	clocks := capture.Clocks{}
	host := RecordedHost(func() capture.Clocks { return clocks }, func() time.Time { return time.Unix(0, boot+100*second) })
	check := func(of decode.Meaning, v uint64, want int64) {
		t.Helper()
		if wall, ok := host.Time(of, v); ok != (want != 0) || ok && wall != want {
			t.Errorf("%v %d: %d, %v, want %d", of, v, wall, ok, want)
		}
	}
	check(decode.Ktime, 99*second, 0)
	check(decode.WallTime, boot, boot)

	clocks = capture.Clocks{Monotonic: boot + 10*second, Boottime: boot, TAI: -37 * second}
	check(decode.Ktime, 80*second, boot+90*second)
	check(decode.Ktime, 99*second, 0) // after the record
	check(decode.Boottime, 90*second, boot+90*second)
	check(decode.TAI, boot+37*second, boot)
	check(decode.Timestamp, 80*second, boot+90*second)
	check(decode.Timestamp, 5, 0)

	// The next part of a file can be of another boot.
	clocks.Monotonic = boot + 50*second
	check(decode.Ktime, 40*second, boot+90*second)
}

func TestNamesOfThisHost(t *testing.T) {
	host := Host()
	for range 2 { // the second time from memory
		if user, group := host.User(0), host.Group(0); user != "root" || group != "root" {
			t.Errorf("user 0 is %q, group 0 %q", user, group)
		}
		if name := host.User(4_000_000_000); name != "" {
			t.Errorf("user 4000000000 is %q", name)
		}
	}
	if wall, ok := host.Time(decode.Boottime, 1); !ok || wall > time.Now().UnixNano() {
		t.Errorf("the host booted at %v, %v", time.Unix(0, wall), ok)
	}
	if name := host.Symbol(1); name != "" {
		t.Errorf("address 1 is %q", name)
	}
}

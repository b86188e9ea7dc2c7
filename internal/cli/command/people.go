package command

import (
	"os/user"
	"strconv"
	"time"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/clock"
	"github.com/rbtool/rbtool/internal/once"
	"github.com/rbtool/rbtool/internal/symbol"
)

// Host returns what text says about the numbers in records of this host. One goroutine at a time may use it.
func Host() decode.Host {
	var clocks clock.Clocks
	kernel := once.Value[*symbol.Kernel]{Pause: 10 * time.Second} // reading the symbols takes long
	return decode.Host{
		Zone: time.Local,
		Time: func(of decode.Meaning, v uint64) (int64, bool) { return wallTime(&clocks, of, v) },
		User: remembered(func(id string) (string, error) {
			u, err := user.LookupId(id)
			if err != nil {
				return "", err
			}
			return u.Username, nil
		}),
		Group: remembered(func(id string) (string, error) {
			g, err := user.LookupGroupId(id)
			if err != nil {
				return "", err
			}
			return g.Name, nil
		}),
		Symbol: func(address uint64) string {
			k, err := kernel.Get(symbol.ReadKernel)
			if err != nil {
				return ""
			}
			return k.At(address)
		},
	}
}

// RecordedHost returns what text says about the numbers in records of a capture: times, but not the names of users and
// symbols, which may be those of another host. clocks returns those of the part of the file that is being read, and now
// the time at which its current record was recorded.
func RecordedHost(clocks func() capture.Clocks, now func() time.Time) decode.Host {
	var used capture.Clocks
	read := func() (clock.Reading, bool) {
		t := now().UnixNano()
		return clock.Reading{Mono: t - used.Monotonic, Boot: t - used.Boottime, Real: t, TAI: t - used.TAI}, used != (capture.Clocks{})
	}
	recorded := clock.From(read)
	return decode.Host{
		Zone: time.Local,
		Time: func(of decode.Meaning, v uint64) (int64, bool) {
			if c := clocks(); c != used {
				used, recorded = c, clock.From(read)
			}
			return wallTime(recorded, of, v)
		},
	}
}

// Clocks returns the clocks of this host for a capture.
func Clocks() capture.Clocks {
	r, ok := clock.Read()
	if !ok {
		return capture.Clocks{}
	}
	return capture.Clocks{Monotonic: r.Real - r.Mono, Boottime: r.Real - r.Boot, TAI: r.Real - r.TAI}
}

// wallTime returns the time of day at which a clock showed v.
func wallTime(clocks *clock.Clocks, of decode.Meaning, v uint64) (int64, bool) {
	switch of {
	case decode.Ktime:
		return clocks.Monotonic(v)
	case decode.Boottime:
		return clocks.Boot(v)
	case decode.TAI:
		return clocks.TAI(v)
	case decode.WallTime:
		return int64(v), int64(v) > 0
	}
	return clocks.Guess(v)
}

// remembered returns a function that looks up the name of an id once. It returns "" if there is none.
func remembered(lookUp func(id string) (string, error)) func(uint32) string {
	const most = 1 << 12
	names := make(map[uint32]string)
	return func(id uint32) string {
		name, ok := names[id]
		if !ok {
			name, _ = lookUp(strconv.FormatUint(uint64(id), 10)) // "" for an id without a name
			if len(names) == most {
				clear(names)
			}
			names[id] = name
		}
		return name
	}
}

package ring

import (
	"fmt"
	"math"
	"time"

	"github.com/rbtool/rbtool/internal/cli/command"
)

// window is a part of a capture, in nanoseconds since 1970.
type window struct {
	since, until int64
	kept         bool // it had a record
	first, last  int64
	busy         int64 // when the last record that is not after the window was read
}

// late is by how much a record may be read after later ones of other CPUs or rings.
const late = time.Second

// checkTimes returns a usage error if a time with a date is after another one.
func checkTimes(since, until *timeFlag) error {
	if !since.set || !until.set || since.ofDay() || until.ofDay() || !since.at.After(until.at) {
		return nil
	}
	return backwards(since, until)
}

func backwards(since, until *timeFlag) error {
	return command.WithHint(command.Usagef("replay: --since %s is after --until %s", since.text, until.text),
		"--since %s --until %s", until.text, since.text)
}

// newWindow returns the part of captures between two times. first is the time of their first record, to which times of
// day refer. It returns a usage error if there is no time between them.
func newWindow(since, until *timeFlag, first time.Time) (window, error) {
	w := window{since: math.MinInt64, until: math.MaxInt64}
	if since.set {
		at := since.at
		if since.ofDay() {
			at = nearest(at, first)
			first = at
		}
		w.since = at.UnixNano()
	}
	if until.set {
		at := until.at
		if until.ofDay() {
			if at = onDay(at, first); at.Before(first) {
				at = at.AddDate(0, 0, 1)
			}
		}
		w.until = at.UnixNano()
	}
	if w.since > w.until {
		return w, backwards(since, until)
	}
	return w, nil
}

// has reports whether a record of this time is in the window. A record without a time is in none.
func (w *window) has(at int64) bool {
	if w.first == 0 || at < w.first {
		w.first = at
	}
	w.last = max(w.last, at)
	in := at >= w.since && at <= w.until
	w.kept = w.kept || in
	return in
}

// over reports whether no record in the window can follow one of time at that was read at the time read: for a while, all that
// were read are after it.
func (w *window) over(at, read int64) bool {
	if at <= w.until {
		w.busy = max(w.busy, read)
		return false
	}
	return read > max(w.busy, w.until)+int64(late)
}

// missed reports whether there were records, and none in the window.
func (w *window) missed() bool { return w.last != 0 && !w.kept }

// describe says where the records are.
func (w *window) describe() string {
	at := func(ns int64) string { return time.Unix(0, ns).Format(time.RFC3339) }
	return fmt.Sprintf("no record is in this time: those of the captures are from %s to %s", at(w.first), at(w.last))
}

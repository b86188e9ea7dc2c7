package ring

import (
	"errors"
	"time"

	"github.com/rbtool/rbtool/internal/cli/command"
)

// timeFlag is a flag for a point in time.
type timeFlag struct {
	set  bool
	text string
	at   time.Time // a time of day has the year 0
}

// timeLayouts are the forms of a local time; without a date it is one of day.
var timeLayouts = []string{"15:04", "15:04:05", "2006-01-02", "2006-01-02 15:04", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02T15:04:05"}

func (t *timeFlag) Set(text string) error {
	t.set, t.text = true, text
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		t.at = at
		return nil
	}
	for _, layout := range timeLayouts {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			t.at = at
			return nil
		}
	}
	if at, ok := dayOf(text, time.Now()); ok {
		t.at = at
		return nil
	}
	var ago command.Duration
	if err := ago.Set(text); err != nil {
		return errors.New("not a time such as 18:04, 2026-12-01T18:04:05Z, 5m or 1d (ago)")
	}
	t.at = time.Now().Add(-time.Duration(ago))
	return nil
}

// dayOf returns when the day began that a word names, or now.
func dayOf(word string, now time.Time) (time.Time, bool) {
	midnight := time.Date(now.Year(), now.Month(), now.Day(), 0, 0, 0, 0, now.Location())
	switch word {
	case "now":
		return now, true
	case "today":
		return midnight, true
	case "yesterday":
		return midnight.AddDate(0, 0, -1), true
	}
	return time.Time{}, false
}

func (t *timeFlag) Type() string { return "time" }

func (t *timeFlag) String() string { return t.text }

// ofDay reports whether the flag is a time of day.
func (t *timeFlag) ofDay() bool { return t.at.Year() == 0 }

// past returns the time, and of a time of day the last one before now.
func (t *timeFlag) past(now time.Time) time.Time {
	if !t.ofDay() {
		return t.at
	}
	at := onDay(t.at, now)
	if at.After(now) {
		at = at.AddDate(0, 0, -1)
	}
	return at
}

// onDay returns the time of day at on the local day of the time of.
func onDay(at, of time.Time) time.Time {
	of = of.In(time.Local)
	return time.Date(of.Year(), of.Month(), of.Day(), at.Hour(), at.Minute(), at.Second(), at.Nanosecond(), time.Local)
}

// nearest returns the time of day at that is nearest to the time of.
func nearest(at, of time.Time) time.Time {
	const half = 12 * time.Hour
	day := onDay(at, of)
	switch d := of.Sub(day); {
	case d > half:
		return day.AddDate(0, 0, 1)
	case d < -half:
		return day.AddDate(0, 0, -1)
	}
	return day
}

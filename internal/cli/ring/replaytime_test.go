package ring

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestTimesOfReplay(t *testing.T) {
	zone := time.Local
	time.Local = time.FixedZone("test", 2*3600)
	defer func() { time.Local = zone }()
	first := time.Date(2026, 12, 1, 23, 50, 0, 0, time.Local)
	const none = ""
	for _, tt := range []struct{ since, until, from, to string }{
		{none, none, none, none},
		{"23:55", "00:10", "2026-12-01T23:55:00+02:00", "2026-12-02T00:10:00+02:00"},
		{"23:45", "23:55:01.5", "2026-12-01T23:45:00+02:00", "2026-12-01T23:55:01.5+02:00"},
		{"00:05", none, "2026-12-02T00:05:00+02:00", none},
		{none, "23:40", none, "2026-12-02T23:40:00+02:00"},
		{"2026-11-30T12:00:00Z", "2026-12-01 23:51", "2026-11-30T14:00:00+02:00", "2026-12-01T23:51:00+02:00"},
	} {
		var since, until timeFlag
		for f, text := range map[*timeFlag]string{&since: tt.since, &until: tt.until} {
			if text != none && f.Set(text) != nil {
				t.Fatal(text)
			}
		}
		w, err := newWindow(&since, &until, first)
		if err != nil {
			t.Error(err)
		}
		show := func(ns int64) string {
			if ns == math.MinInt64 || ns == math.MaxInt64 {
				return none
			}
			return time.Unix(0, ns).Format(time.RFC3339Nano)
		}
		if from, to := show(w.since), show(w.until); from != tt.from || to != tt.to {
			t.Errorf("--since %s --until %s: from %s to %s, want %s and %s", tt.since, tt.until, from, to, tt.from, tt.to)
		}
	}
	var ago, wrong timeFlag
	if err := ago.Set("5m"); err != nil || time.Since(ago.at) < 5*time.Minute || time.Since(ago.at) > 6*time.Minute {
		t.Errorf("5m: %v, %v", ago.at, err)
	}
	for _, text := range []string{"", "tomorrow", "25:00", "-5m"} {
		if err := wrong.Set(text); err == nil {
			t.Errorf("%q is %v", text, wrong.at)
		}
	}
}

func TestAWindowSaysWhatItMissed(t *testing.T) {
	w := window{since: 5e9, until: 7e9}
	if w.missed() {
		t.Error("no record was missed")
	}
	if w.has(9e9) || w.has(2e9) || !w.missed() || !strings.Contains(w.describe(), "from 1970-01-01T") {
		t.Errorf("%s", w.describe())
	}
	if !w.has(5e9) || !w.has(7e9) || w.missed() {
		t.Error("a record in the window")
	}
}

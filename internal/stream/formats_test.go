package stream

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ofRing returns a record of a ring.
func ofRing(ring int, rec *Record) *Record {
	rec.Ring = ring
	return rec
}

func TestRecordsOfSeveralRings(t *testing.T) {
	event, other := setOf(t, structOf("event", u16, "a", "b")), setOf(t, structOf("other", u16, "c"))
	const time = "2026-01-02T03:04:05.000006 "
	for _, tt := range []struct {
		rule, name string
		width      int
		second     Shown // of ring 1; ring 0 is a[0] with events
		want       []string
	}{
		{"text has a column", Text, 0, Shown{Name: "b", ID: 8, Types: other}, []string{
			"a[0]  " + time + "event a=1 b=2",
			"b     " + time + "other c=3",
			"b     " + time + "pos=0 len=1  04  |.|",
			"a[0]  " + time + "event a=5 b=6",
		}},
		{"the output of one type is a table", Text, 100, Shown{Name: "b[1]", ID: 8, Types: event}, []string{
			"ring  time             a      b",
			"a[0]  " + time + " 1      2",
			"b[1]  " + time + "pos=0 len=2  03 00  |..|",
			"b[1]  " + time + "pos=0 len=1  04  |.|",
			"a[0]  " + time + " 5      6",
		}},
		{"of several types it is not", Text, 100, Shown{Name: "\x1b[", ID: 8}, []string{
			`a[0]   ` + time + "event a=1 b=2",
			`\x1b[  ` + time + "pos=0 len=2  03 00  |..|",
			`\x1b[  ` + time + "pos=0 len=1  04  |.|",
			`a[0]   ` + time + "event a=5 b=6",
		}},
		{"JSON has members", JSON, 0, Shown{Name: "\"\xff", ID: 8, Extras: stacked{}}, []string{
			`{"seq":1,"pos":0,"len":4,"ring":"a[0]","ring_id":7,"time":"2026-01-02T03:04:05.000006007Z","type":"event","data":{"a":1,"b":2}}`,
			`{"seq":2,"pos":0,"len":2,"ring":[34,255],"ring_id":8,"time":"2026-01-02T03:04:05.000006007Z","hex":"0300","n":2}`,
			`{"seq":3,"pos":0,"len":1,"ring":[34,255],"ring_id":8,"time":"2026-01-02T03:04:05.000006007Z","hex":"04","n":1}`,
			`{"seq":4,"pos":0,"len":4,"ring":"a[0]","ring_id":7,"time":"2026-01-02T03:04:05.000006007Z","type":"event","data":{"a":5,"b":6}}`,
		}},
		{"hex has no ring", Hex, 0, Shown{Name: "b"}, []string{"01000200", "0300", "04", "05000600"}},
	} {
		f := NewFormats(tt.name, FormatOptions{Width: tt.width}, true)
		f.Set(1, tt.second)
		f.Set(0, Shown{Name: "a[0]", ID: 7, Types: event})
		var out []byte
		for _, rec := range []*Record{
			ofRing(0, record(1, 0, 1, 0, 2, 0)), ofRing(1, record(2, 0, 3, 0)), ofRing(1, record(3, 0, 4)), ofRing(0, record(4, 0, 5, 0, 6, 0)),
		} {
			out = f.Append(out, rec)
		}
		if diff := cmp.Diff(tt.want, strings.Split(strings.TrimSpace(string(out)), "\n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.rule, diff)
		}
	}
}

// A ring that replaces another one has its own name and types, and nothing is kept of the old ones.
func TestARingReplacesAnother(t *testing.T) {
	f := NewFormats(Text, FormatOptions{}, true)
	long := strings.Repeat("x", 100) + "/events"
	for i, want := range []string{
		"old   2026-01-02T03:04:05.000006 old a=1\n",
		"new   2026-01-02T03:04:05.000006 new b=1\n",
		"…" + long[len(long)-longestRing+1:] + "  2026-01-02T03:04:05.000006 new b=1\n",
	} {
		name := []string{"old", "new", long}[i]
		f.Set(0, Shown{Name: name, Types: setOf(t, structOf([]string{"old", "new", "new"}[i], u16, []string{"a", "b", "b"}[i]))})
		if got := string(f.Append(nil, ofRing(0, record(1, 0, 1, 0)))); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if len(f.shared) != 1 {
		t.Errorf("%d formats for one ring", len(f.shared))
	}
}

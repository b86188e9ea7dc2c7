package fleet

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/internal/ring"
)

// get returns the function with which ParseBatch reads a header.
func (h Header) get(name string) string { return h[name] }

func TestABatchIsReadAsItWasWritten(t *testing.T) {
	at := time.Unix(1_800_000_000, 123).UTC()
	b := &Batch{
		Identity: Identity{Host: "a.b", Machine: "m", Boot: "b", Ring: "agent/events", Map: 1<<32 - 1, Creation: 1<<64 - 1},
		Writer:   7, From: 8, To: 1 << 63, First: 16, Filtered: 1, Discarded: 2, Lost: 3, Dropped: 4, DroppedSize: 5,
		Time: at, Clocks: capture.Clocks{Monotonic: -1, Boottime: 2, TAI: 3}, Encoding: Raw, Types: "hash",
	}
	c := rawCursor{b.First, at.UnixNano()}
	var want []Record
	pos := b.First
	for i, size := range []int{0, 1, 8, 300} {
		data := bytes.Repeat([]byte{byte(i)}, size)
		read := at.Add(time.Duration(i-1) * time.Millisecond)
		b.Body = c.append(b.Body, pos, read.UnixNano(), data)
		want = append(want, Record{Pos: pos, Time: read, Data: data})
		b.Last = pos
		b.Records++
		b.Bytes += uint64(size)
		pos += ring.Span(uint32(size)) + 16*uint64(i)
	}
	got, err := ParseBatch(b.Header().get, b.Body)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(b, got); diff != "" {
		t.Errorf("the batch differs (-want +got):\n%s", diff)
	}
	var records []Record
	for rec, err := range got.All() {
		if err != nil {
			t.Fatal(err)
		}
		rec.Time = rec.Time.UTC()
		records = append(records, rec)
	}
	if diff := cmp.Diff(want, records); diff != "" {
		t.Errorf("the records differ (-want +got):\n%s", diff)
	}
}

func TestMessagesThatAreNotBatches(t *testing.T) {
	good := (&Batch{Identity: Identity{Boot: "b", Map: 1}, Encoding: Raw, Time: time.Unix(1, 0)}).Header()
	for _, tt := range []struct{ name, value string }{
		{"Rb-Map", "x"}, {"Rb-Map", "4294967296"}, {"Rb-To", "-1"}, {"Rb-Time", ""}, {"Rb-Encoding", "xml"}, {"Rb-Boot", ""}, {"Rb-Clocks", "1 2"},
	} {
		h := Header{}
		for name, value := range good {
			h[name] = value
		}
		if _, err := ParseBatch(h.get, nil); err != nil {
			t.Fatal(err)
		}
		h[tt.name] = tt.value
		if _, err := ParseBatch(h.get, nil); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %q: error %v", tt.name, tt.value, err)
		}
	}
}

// A batch that counts a dropped one, which was stored after all, is as if it had never been dropped.
func TestDeductReversesAbsorb(t *testing.T) {
	first := &Batch{From: 8, To: 80, Records: 3, Bytes: 48, Filtered: 1, Discarded: 2, Lost: 16, Dropped: 5, DroppedSize: 7}
	second := Batch{From: 80, To: 160, Records: 4, Bytes: 64, Discarded: 1}
	b := second
	b.absorb(first)
	if b.From != 8 || b.Dropped != 8 || b.DroppedSize != 55 || b.Discarded != 3 {
		t.Errorf("after absorb: %+v", b)
	}
	b.deduct(first)
	if diff := cmp.Diff(second, b); diff != "" {
		t.Errorf("after deduct (-want +got):\n%s", diff)
	}
}

func TestTheSameRing(t *testing.T) {
	id := Identity{Host: "h", Machine: "m", Boot: "b", Ring: "r", Map: 1, Creation: 2}
	for _, tt := range []struct {
		name   string
		change func(*Identity)
		same   bool
	}{
		{"renamed", func(o *Identity) { o.Ring, o.Host = "r2", "h2" }, true},
		{"creation unknown", func(o *Identity) { o.Creation = 0 }, true},
		{"recreated", func(o *Identity) { o.Creation = 3 }, false},
		{"another map", func(o *Identity) { o.Map = 2 }, false},
		{"after a reboot", func(o *Identity) { o.Boot = "b2" }, false},
		{"another machine", func(o *Identity) { o.Machine = "m2" }, false},
	} {
		o := id
		tt.change(&o)
		if id.Same(o) != tt.same || o.Same(id) != tt.same {
			t.Errorf("%s: same is %t", tt.name, !tt.same)
		}
	}
}

func TestSubjectsAndAddresses(t *testing.T) {
	if got, want := Subject("EVENTS", "web1.example.org", "a b/*>%é"), "EVENTS.web1%2Eexample%2Eorg.a%20b/%2A%3E%25%C3%A9"; got != want {
		t.Errorf("subject %q, want %q", got, want)
	}
	for _, text := range []string{
		"nats://", "nats://h", "nats://h/", "nats://h/A.B", "nats://h/A/B", "nats://u:p@h/A", "nats:///A", "http://h/A", "nats://h/A?b=c", "nats://h/A#b", "h/A", "nats://[/A",
	} {
		if a, err := ParseNATS(text); err == nil {
			t.Errorf("%q is %+v", text, a)
		}
	}
	if a, err := ParseNATS("tls://h:1/A_b-1"); err != nil || a != (Address{"tls://h:1", "A_b-1"}) {
		t.Errorf("%+v, %v", a, err)
	}
}

// A body is data of the network: whatever it is, reading it ends, with an error or with the records that the header counts.
func FuzzBody(f *testing.F) {
	c := rawCursor{}
	f.Add(c.append(nil, 0, 5, []byte("record")), uint64(1))
	f.Add([]byte{0, 0, 200}, uint64(1))
	f.Add([]byte{0xff, 0xff}, uint64(1<<63))
	f.Fuzz(func(t *testing.T, body []byte, records uint64) {
		n := uint64(0)
		for _, err := range (&Batch{Records: records, Body: body}).All() {
			if err != nil {
				if !errors.Is(err, ErrFormat) {
					t.Fatal(err)
				}
				return
			}
			n++
		}
		if n != records {
			t.Errorf("%d records of %d, and no error", n, records)
		}
	})
}

package consumer

import (
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

// A wait pauses if records come in batches, fast, and the ring has room for many more.
func TestWhenAWaitPauses(t *testing.T) {
	const span = 72
	for _, tt := range []struct {
		rule    string
		records uint64
		in      time.Duration
		size    uint64
		want    time.Duration
	}{
		{"a flood", 1000, time.Millisecond, 16 << 20, floodPause},
		{"just enough records, just fast enough", 4, 25 * time.Microsecond, 16 << 20, floodPause},
		{"too slow", 1000, 7 * time.Millisecond, 16 << 20, 0},
		{"a burst after a calm", 1000, time.Second, 16 << 20, 0},
		{"one record for each wait, as of a program that waits for an answer", 1, time.Microsecond, 16 << 20, 0},
		{"no record", 0, time.Millisecond, 16 << 20, 0},
		{"no time", 1000, 0, 16 << 20, 0},
		{"a ring that takes a flood for 800 µs", 1000, 720 * time.Microsecond, 80_000, floodPause},
		{"a smaller ring", 1000, 720 * time.Microsecond, 79_992, 0},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			var f flood
			start := time.Now()
			if got := f.next(start, 1<<40, 5000, tt.size); got != (inflow{}) {
				t.Errorf("inflow before the first wait: %+v", got)
			}
			in := f.next(start.Add(tt.in), 1<<40+ring.Pos(span*tt.records), 5000+tt.records, tt.size)
			if got := in.pause(); got != tt.want {
				t.Errorf("%+v: a pause of %v, want %v", in, got, tt.want)
			}
		})
	}
}

// Two rings that are no flood each can be one together; a ring without room prevents the pause.
func TestAFloodOfSeveralRings(t *testing.T) {
	half := inflow{records: 3, rate: floodRate / 2}
	two := half
	two.add(half)
	if got := two.pause(); half.pause() != 0 || got != floodPause {
		t.Errorf("a pause of %v for one ring, %v for two", half.pause(), got)
	}
	two.add(inflow{crowded: true})
	if got := two.pause(); got != 0 {
		t.Errorf("a pause of %v beside a ring without room", got)
	}
}

// Waits find out by themselves that there is a flood, unless the options say how to wait.
func TestFloodOfARing(t *testing.T) {
	for _, tt := range []struct {
		rule string
		opts Options
		want time.Duration
	}{
		{"default", Options{}, floodPause},
		{"negative Coalesce", Options{Coalesce: -1}, 0},
		{"BusyPoll", Options{BusyPoll: time.Microsecond}, 0},
		{"Coalesce", Options{Coalesce: time.Microsecond}, time.Microsecond},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			m := testenv.Ring(t, 256<<10)
			p := loadProducer(t, m)
			r, err := NewReader(m, tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			g, err := NewGroup([]*ebpf.Map{testenv.Ring(t, testenv.PageSize)}, tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			defer g.Close()
			start := time.Now()
			r.pauseFor(start)
			flooded(t, p)
			// Passes count their records at once, Read only when a pass or a wait follows.
			for range 900 {
				if _, err := r.Read(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			for range r.Pass(0) {
			}
			if got := r.pauseFor(start.Add(time.Millisecond)); got != tt.want {
				t.Errorf("a pause of %v, want %v", got, tt.want)
			}
			if err := r.publish(0); err != nil {
				t.Fatal(err)
			}
			if got := r.pauseFor(start.Add(2 * time.Millisecond)); got != 0 {
				t.Errorf("a pause of %v at the next wait", got)
			}
			if got := g.pauseFor(start); got != 0 {
				t.Errorf("a pause of %v of a Group without records", got)
			}
		})
	}
}

// flooded makes p write 1,000 records of 8 bytes.
func flooded(t *testing.T, p *producer.Producer) {
	t.Helper()
	if _, err := p.Run(t.Context(), producer.Job{Op: producer.Output, Size: 8, Count: 1000}); err != nil {
		t.Fatal(err)
	}
}

func loadProducer(t *testing.T, m *ebpf.Map) *producer.Producer {
	t.Helper()
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// A Group pauses if the rings that had records are flooded.
func TestFloodOfAGroup(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, 256<<10)
	p := loadProducer(t, m)
	g, err := NewGroup([]*ebpf.Map{m, testenv.Ring(t, testenv.PageSize)}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	start := time.Now()
	g.pauseFor(start)
	flooded(t, p)
	for range g.Pass(0) {
	}
	if got := g.pauseFor(start.Add(time.Millisecond)); got != floodPause {
		t.Errorf("a pause of %v, want %v", got, floodPause)
	}
}

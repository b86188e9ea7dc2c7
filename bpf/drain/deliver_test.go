package drain

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// pattern gives sample seq its bytes: the number, as far as there is room, then what
// depends on it.
var pattern = func() []byte {
	b := make([]byte, 1<<24+256)
	r := rand.New(rand.NewPCG(1, 2))
	for i := 0; i+8 <= len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b
}()

func payload(seq uint64, size int) []byte {
	b := bytes.Clone(pattern[seq%256:][:size])
	if size >= 8 {
		binary.LittleEndian.PutUint64(b, seq)
	}
	return b
}

// pair is a user ring, a ring, and a Drain from one into the other.
type pair struct {
	*feeder
	*Drain
	user, ring *ebpf.Map
	reader     *consumer.Reader
}

func newPair(t *testing.T, userSize, ringSize uint32, opts Options) *pair {
	t.Helper()
	testenv.NoLeaks(t)
	p := &pair{user: userRing(t, userSize), ring: testenv.Ring(t, ringSize)}
	opts.To = p.ring
	p.feeder, p.Drain = newFeeder(t, p.user), newDrain(t, p.user, opts)
	var err error
	if p.reader, err = consumer.NewReader(p.ring, consumer.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.reader.Close() })
	return p
}

// take consumes the records that are there.
func (p *pair) take(t *testing.T) (records [][]byte) {
	t.Helper()
	for rec := range p.reader.Pass(0) {
		records = append(records, bytes.Clone(rec.Data))
	}
	if err := p.reader.Err(); err != nil {
		t.Fatal(err)
	}
	return records
}

// run does a run without error.
func (p *pair) run(t *testing.T) Result {
	t.Helper()
	res, err := p.Run(RunOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestASampleBecomesARecord(t *testing.T) {
	sizes := []int{0, 1, 7, 8, 9, 63, 64, 65, 4087, 4088, maxChunk - 1, maxChunk, maxChunk + 1, 2 * maxChunk, 3*maxChunk + 5}
	p := newPair(t, 1<<20, 1<<20, Options{})
	for seq, size := range sizes {
		p.feed(payload(uint64(seq), size))
	}
	if res := p.run(t); res.Delivered != uint64(len(sizes)) || res.DeliveredBytes != res.Bytes || res.Full {
		t.Errorf("%+v", res)
	}
	records := p.take(t)
	if len(records) != len(sizes) {
		t.Fatalf("%d records, want %d", len(records), len(sizes))
	}
	for seq, size := range sizes {
		if !bytes.Equal(records[seq], payload(uint64(seq), size)) {
			t.Errorf("sample of %d bytes arrived as another one of %d", size, len(records[seq]))
		}
	}
}

func TestTheLargestSampleOfADynptr(t *testing.T) {
	p := newPair(t, 32<<20, 32<<20, Options{})
	if p.MaxSample() != maxDynptr {
		t.Fatalf("MaxSample %d", p.MaxSample())
	}
	for seq := range uint64(3) { // the second finds the ring full, and is kept aside
		p.feed(payload(seq, maxDynptr))
		p.run(t)
	}
	for seq := range uint64(3) {
		p.run(t)
		records := p.take(t)
		if len(records) == 0 || !bytes.Equal(records[0], payload(seq, maxDynptr)) {
			t.Fatalf("sample %d did not arrive intact", seq)
		}
	}
}

// The bounds at which a sample fits, in rings of all relations.
func TestASampleThatNeverFitsIsCountedAndDropped(t *testing.T) {
	page := uint32(os.Getpagesize())
	for _, test := range []struct {
		name       string
		user, ring uint32
		max        uint32 // Options
		largest    int
	}{
		{"the target is the limit", 4 * page, page, 0, int(page) - 16},
		{"the target is the limit, with long samples", 1 << 20, 1 << 18, 0, 1<<18 - 16},
		{"the caller says less", 4 * page, 4 * page, 100, 100},
		{"the caller says more", 4 * page, page, 1 << 30, int(page) - 16},
		{"the user ring is the limit", page, 4 * page, 0, int(page) - 8},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPair(t, test.user, test.ring, Options{MaxSample: test.max})
			if int(p.MaxSample()) != test.largest {
				t.Errorf("MaxSample %d, want %d", p.MaxSample(), test.largest)
			}
			p.feed(payload(0, test.largest))
			p.run(t)
			if records := p.take(t); len(records) != 1 || !bytes.Equal(records[0], payload(0, test.largest)) {
				t.Fatalf("%d records", len(records))
			}
			if uint64(test.largest)+1+headerSize > p.size {
				return // the user ring does not carry it either
			}
			p.feed(payload(1, test.largest+1))
			if res := p.run(t); res.TooLarge != 1 || res.Delivered != 0 || res.Full {
				t.Errorf("%+v", res)
			}
			p.feed(payload(2, 8))
			if res := p.run(t); res.Delivered != 1 {
				t.Errorf("after it: %+v", res)
			}
			if s, err := p.Stats(); err != nil || s.TooLarge != 1 || s.Aside {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
}

// Random sizes through a target that is full again and again.
func TestNothingIsLostWhereTheTargetIsFull(t *testing.T) {
	count := uint64(20_000)
	if testing.Short() {
		count = 2000
	}
	for _, sizes := range [][2]uint32{{4096, 4096}, {1 << 16, 4096}, {4096, 1 << 16}, {1 << 20, 1 << 18}} {
		p := newPair(t, sizes[0], sizes[1], Options{})
		r := rand.New(rand.NewPCG(3, 4))
		size := func(seq uint64) int {
			limit := p.MaxSample()
			if seq%4 > 0 {
				limit = min(limit, 300)
			}
			return int(mixed(seq) % uint64(limit+1))
		}
		var fed, got, full uint64
		for got < count {
			for fed < count && p.put(payload(fed, size(fed)), 0) {
				fed++
			}
			p.publish(p.pos)
			for range 1 + r.IntN(3) {
				if p.run(t).Full {
					full++
				}
			}
			for _, rec := range p.take(t) {
				if !bytes.Equal(rec, payload(got, size(got))) {
					t.Fatalf("rings of %d and %d: record %d is not sample %d", sizes[0], sizes[1], got, got)
				}
				got++
			}
		}
		s, err := p.Stats()
		if err != nil {
			t.Fatal(err)
		}
		if s.Samples != count || s.Delivered != count || s.Full != full || s.TooLarge != 0 || s.Aside {
			t.Errorf("%+v; want %d samples, %d times full", s, count, full)
		}
		if sizes[1] < sizes[0] && full == 0 {
			t.Errorf("rings of %d and %d: the target was never full", sizes[0], sizes[1])
		}
	}
}

func mixed(x uint64) uint64 {
	x = (x + 1) * 0x9e3779b97f4a7c15
	return x ^ x>>29
}

// fillTarget makes runs until a sample is kept aside; they have seq in them.
func (p *pair) fillTarget(t *testing.T) (fed uint64) {
	t.Helper()
	for {
		p.feed(payload(fed, 100))
		fed++
		if p.run(t).Full {
			return fed
		}
	}
}

func TestASampleKeptAsideComesFirst(t *testing.T) {
	p := newPair(t, 4096, 4096, Options{})
	fed := p.fillTarget(t)
	if s, err := p.Stats(); err != nil || !s.Aside || s.Len != 100 || s.Full != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	// With a sample aside, none is taken while the target stays full.
	p.feed(payload(fed, 8))
	if res := p.run(t); !res.Full || res.Samples != 0 {
		t.Errorf("%+v", res)
	}
	records := p.take(t)
	if res := p.run(t); res.Full || res.Samples != 1 || res.Delivered != 2 {
		t.Errorf("%+v", res)
	}
	records = append(records, p.take(t)...)
	for seq, rec := range records {
		if got := binary.LittleEndian.Uint64(rec); got != uint64(seq) {
			t.Fatalf("record %d is sample %d", seq, got)
		}
	}
	if uint64(len(records)) != fed+1 {
		t.Errorf("%d records, want %d", len(records), fed+1)
	}
}

func TestCloseDeliversWhatIsAside(t *testing.T) {
	testenv.NoLeaks(t)
	user, ring := userRing(t, 4096), testenv.Ring(t, 4096)
	r, err := consumer.NewReader(ring, consumer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, room := range []bool{true, false} {
		d, err := Load(user, Options{To: ring})
		if err != nil {
			t.Fatal(err)
		}
		p := &pair{feeder: newFeeder(t, user), Drain: d, reader: r}
		fed := p.fillTarget(t)
		if room {
			p.take(t)
		}
		err = d.Close()
		if want := map[bool]error{false: ErrAside}[room]; !errors.Is(err, want) {
			t.Errorf("room %v: close: %v, want %v", room, err, want)
		}
		records := p.take(t)
		if last := binary.LittleEndian.Uint64(records[len(records)-1]); room != (last == fed-1) {
			t.Errorf("room %v: the last record is sample %d of %d", room, last, fed)
		}
		if err := d.Close(); err != nil {
			t.Errorf("second close: %v", err)
		}
		if _, err := d.Run(RunOptions{}); !errors.Is(err, os.ErrClosed) {
			t.Errorf("run after close: %v", err)
		}
	}
}

// What wakes a consumer that sleeps, and what it costs in discarded records.
func TestWakeupsOfTheConsumer(t *testing.T) {
	for _, test := range []struct {
		name      string
		count     int
		size      int
		records   int
		discarded uint64
	}{
		{"nothing", 0, 0, 0, 0},
		{"one record", 1, 8, 1, 0},
		{"one record of no bytes", 1, 0, 1, 0},
		{"several records", 5, 8, 5, 1},
		{"one record that makes the ring half full", 1, 2100, 1, 0},
		{"until no other fits", 45, 88, 42, 1},
		{"until none of no bytes fits", 600, 0, 511, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPair(t, 8192, 4096, Options{})
			s := newSleeper(t, p.ring, unix.EPOLLIN)
			p.feedN(test.count, test.size, 0)
			p.run(t)
			if got, want := s.woken(test.records > 0), test.records > 0; got != want {
				t.Errorf("woken: %v", got)
			}
			if got := len(p.take(t)); got != test.records {
				t.Errorf("%d records, want %d", got, test.records)
			}
			stats, err := p.reader.Stats()
			if err != nil {
				t.Fatal(err)
			}
			if stats.Discarded != test.discarded {
				t.Errorf("%d discarded records, want %d", stats.Discarded, test.discarded)
			}
		})
	}
}

// A consumer that has only wakeups to go by, edge-triggered and without a timer,
// gets all, whatever the sizes of the runs.
func TestNoWakeupIsLost(t *testing.T) {
	count := uint64(200_000)
	if testing.Short() {
		count = 5000
	}
	p := newPair(t, 1<<14, 1<<12, Options{Limit: 64})
	s := newSleeper(t, p.ring, unix.EPOLLIN)
	if err := p.Start(50 * time.Microsecond); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var feeding sync.WaitGroup
	defer feeding.Wait()
	defer cancel()
	feeding.Go(func() {
		for seq := uint64(0); seq < count && ctx.Err() == nil; {
			if p.put(payload(seq, 8+int(mixed(seq)%100)), 0) {
				seq++
				p.publish(p.pos)
			} else {
				runtime.Gosched()
			}
		}
	})
	for got := uint64(0); got < count; {
		records := p.take(t)
		for _, rec := range records {
			if seq := binary.LittleEndian.Uint64(rec); seq != got {
				t.Fatalf("record %d is sample %d", got, seq)
			}
			got++
		}
		if len(records) == 0 && got < count && !s.woken(true) {
			stats, err := p.Stats()
			t.Fatalf("not woken within a minute, %d of %d records: %+v, %v", got, count, stats, err)
		}
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
}

// Runs by the caller, the timer and a tracepoint at once keep the order.
func TestTriggersThatRaceKeepTheOrder(t *testing.T) {
	count := uint64(50_000)
	if testing.Short() {
		count = 5000
	}
	p := newPair(t, 1<<13, 1<<12, Options{})
	if err := errors.Join(p.Start(20*time.Microsecond), p.Attach("sys_enter")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()
	for range 2 {
		work.Go(func() {
			for ctx.Err() == nil {
				if _, err := p.Run(RunOptions{}); err != nil && !errors.Is(err, ErrContended) {
					t.Errorf("run: %v", err)
					return
				}
			}
		})
	}
	work.Go(func() {
		for seq := uint64(0); seq < count && ctx.Err() == nil; {
			if p.put(payload(seq, 8+int(mixed(seq)%50)), 0) {
				seq++
				p.publish(p.pos)
			} else {
				runtime.Gosched()
			}
		}
	})
	for got := uint64(0); got < count; got++ {
		rec, err := p.reader.Read(ctx)
		if err != nil {
			s, _ := p.Stats()
			t.Fatalf("%d of %d records: %v; %+v", got, count, err, s)
		}
		if seq := binary.LittleEndian.Uint64(rec.Data); seq != got {
			t.Fatalf("record %d is sample %d", got, seq)
		}
	}
	cancel()
	work.Wait()
	s, err := p.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if s.Delivered != count || s.Busy+s.Invalid+s.TooBig+s.Failed > 0 {
		t.Errorf("%+v", s)
	}
	if s.Contended == 0 {
		t.Log("no two runs overlapped")
	}
}

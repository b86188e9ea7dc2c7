package consumer_test

import (
	"context"
	"errors"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

// overwriting creates a ring of size bytes in overwrite mode: its producers overwrite records that
// are not read in time (BPF_F_RB_OVERWRITE, Linux 6.19).
func overwriting(tb testing.TB, size uint32) *ebpf.Map {
	tb.Helper()
	m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "test_ring", Type: ebpf.RingBuf, MaxEntries: size, Flags: mapflag.RBOverwrite})
	if errors.Is(err, unix.EINVAL) {
		testenv.SkipWithout(tb, "ringbuf-overwrite", err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { m.Close() })
	return m
}

// A ledger counts what a reader has read and lost. All records have the same length.
type ledger struct {
	records, bytes uint64 // bytes include headers
	gaps           uint64 // bytes between records
	end            uint64 // position at which the last record ends
	next           uint64 // lowest number that the next record may have
}

// add checks that rec follows the records before it.
func (l *ledger) add(t *testing.T, rec consumer.Record) {
	t.Helper()
	if rec.Pos < l.end {
		t.Fatalf("a record at position %d after one that ends at %d", rec.Pos, l.end)
	}
	n := seq(t, rec)
	if n < l.next {
		t.Fatalf("record %d, want %d or a later one", n, l.next)
	}
	span := ring.Span(uint32(len(rec.Data)))
	l.records++
	l.bytes += span
	l.gaps += rec.Pos - l.end
	l.end, l.next = rec.Pos+span, n+1
}

func TestOverwriteNothingLost(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			testenv.NoLeaks(t)
			m := overwriting(t, testenv.PageSize)
			p, r := load(t, m), reader(t, m, consumer.Options{})
			job := producer.Job{Op: producer.Output, MaxSize: 900, Size: 8, Count: 4}
			var l ledger
			for range long(100, 20) {
				res := run(t, p, job)
				err := way.take(t.Context(), r, 4, func(rec consumer.Record) { l.add(t, rec) })
				if err != nil {
					t.Fatal(err)
				}
				job.Seq = res.Next
			}
			if s := stats(t, r); l.gaps != 0 || s.Lost != 0 || s.Records != l.records || l.records != job.Seq {
				t.Errorf("%d records, gaps of %d bytes, %+v", l.records, l.gaps, s)
			}
		})
	}
}

// Records that are not overwritten are read in order. Lost records are counted to the byte.
func TestOverwriteAccounts(t *testing.T) {
	tests := []struct {
		rule string
		job  producer.Job
	}{
		{"short records", producer.Job{Op: producer.Output, Size: 16, Count: 1000 * scale}},
		{"records of many lengths", producer.Job{Op: producer.Output, Size: 8, MaxSize: 1000, Count: 1000 * scale}},
		{"records of almost the ring's size", producer.Job{Op: producer.Output, Size: testenv.PageSize - 16, Count: 100}},
		{"just one lap", producer.Job{Op: producer.Output, Size: 8, Count: uint64(testenv.PageSize) / 16}},
	}
	for _, tt := range tests {
		for _, way := range ways {
			t.Run(tt.rule+" read by "+way.name, func(t *testing.T) {
				testenv.NoLeaks(t)
				m := overwriting(t, testenv.PageSize)
				p, r := load(t, m), reader(t, m, consumer.Options{})
				job := tt.job
				var l ledger
				for range 5 {
					res := run(t, p, job)
					q, err := p.Query()
					if err != nil {
						t.Fatal(err)
					}
					// Read one record first, then the others.
					for n := 1; l.end < q.ProdPos; n = int(left(t, job, q)) - 1 {
						err := way.take(t.Context(), r, n, func(rec consumer.Record) { l.add(t, rec) })
						if err != nil {
							t.Fatal(err)
						}
						if s := stats(t, r); s.Lost != l.gaps || s.Lost+l.bytes != l.end {
							t.Fatalf("at %d: %d bytes read, gaps of %d bytes, %+v", l.end, l.bytes, l.gaps, s)
						}
					}
					if job.Seq = res.Next; l.next != res.Next {
						t.Errorf("read up to record %d, want %d", l.next, res.Next)
					}
				}
				if l.gaps == 0 || l.records == job.Seq {
					t.Error("nothing was lost")
				}
			})
		}
	}
}

// left returns the number of records in the ring.
func left(t *testing.T, job producer.Job, q producer.Query) (n uint64) {
	t.Helper()
	end := job.Seq + job.Count
	for pos := q.ProdPos; pos > q.OverwritePos; n++ {
		pos -= ring.Span(job.Len(end - 1 - n))
	}
	return n
}

func TestOverwriteDiscarded(t *testing.T) {
	testenv.NoLeaks(t)
	m := overwriting(t, testenv.PageSize)
	p, r := load(t, m), reader(t, m, consumer.Options{})
	run(t, p, producer.Job{Op: producer.Reserve, Size: 16, Count: 1000, DiscardEvery: 4})
	got := uint64(len(seqs(t, r, 0)))
	s := stats(t, r)
	if s.Records != got || s.Discarded < got/4 || (s.Records+s.Discarded)*24+s.Lost != 24_000 || s.Backlog != 0 {
		t.Errorf("%d records: %+v", got, s)
	}
}

// While a producer floods the ring, no record is torn, repeated or out of order, and each missing
// record is counted as lost.
func TestOverwriteUnderFlood(t *testing.T) {
	const cpu = 1
	tests := []struct {
		rule string
		size uint32
		job  producer.Job
		n    uint64
	}{
		{"short records in a small ring", testenv.PageSize, producer.Job{Op: producer.Output, Size: 16}, 2_000_000},
		{"records of many lengths in a small ring", testenv.PageSize, producer.Job{Op: producer.Output, Size: 8, MaxSize: 1000}, 1_000_000},
		{"records of many lengths in a large ring", 1 << 20, producer.Job{Op: producer.Output, Size: 8, MaxSize: 1000}, 1_000_000},
		{"long records", 256 << 10, producer.Job{Op: producer.Output, Size: 8, MaxSize: 60_000}, 50_000},
		{"reserved records", 2 * testenv.PageSize, producer.Job{Op: producer.Reserve, Size: 500}, 500_000},
	}
	for _, tt := range tests {
		for _, way := range ways[:long(len(ways), 1)] {
			t.Run(tt.rule+" read by "+way.name, func(t *testing.T) {
				testenv.NoLeaks(t)
				m := overwriting(t, tt.size)
				p, r := load(t, m), reader(t, m, consumer.Options{})
				job := tt.job
				job.Count = tt.n / uint64(long(10, 200))
				flooded := make(chan error, 1)
				ctx, cancel := context.WithCancel(t.Context())
				go func() {
					defer cancel()
					_, err := p.RunOn(t.Context(), cpu, job)
					flooded <- err
				}()
				var l ledger
				for ctx.Err() == nil {
					err := way.take(ctx, r, 100, func(rec consumer.Record) { l.add(t, rec) })
					if err != nil && ctx.Err() == nil {
						t.Fatal(err)
					}
				}
				if err := <-flooded; err != nil {
					t.Fatal(err)
				}
				for rec := range r.Pass(0) {
					l.add(t, rec)
				}
				s := stats(t, r)
				if r.Err() != nil || s.Records != l.records || s.Lost != l.gaps || s.Backlog != 0 || l.end != s.ProducerPos {
					t.Errorf("%d records, %d bytes, gaps of %d bytes, %+v, %v", l.records, l.bytes, l.gaps, s, r.Err())
				}
				if l.next != job.Count {
					t.Errorf("the last record is %d, want %d", l.next-1, job.Count-1)
				}
				t.Logf("%d of %d records read", l.records, job.Count)
			})
		}
	}
}

func TestOverwriteResume(t *testing.T) {
	testenv.NoLeaks(t)
	m := overwriting(t, testenv.PageSize)
	p := load(t, m)
	run(t, p, ten)
	r, err := consumer.NewReader(m, consumer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for rec := range r.Pass(0) {
		if seq(t, rec) == 4 {
			break // the record stays in the ring
		}
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	r = reader(t, m, consumer.Options{})
	if diff := cmp.Diff(from(4, 3), seqs(t, r, 3)); diff != "" {
		t.Errorf("the next Reader gets (-want +got):\n%s", diff)
	}
	// The Reader does not read while its records are overwritten.
	more, fit := 1000*scale, uint64(testenv.PageSize)/24
	run(t, p, producer.Job{Op: producer.Output, Size: 16, Count: more, Seq: 10})
	got := seqs(t, r, 0)
	if diff := cmp.Diff(from(10+more-fit, fit), got); diff != "" {
		t.Errorf("what is left (-want +got):\n%s", diff)
	}
	if s := stats(t, r); s.Lost != (10+more-fit-7)*24 {
		t.Errorf("lost %d bytes, want %d", s.Lost, (10+more-fit-7)*24)
	}
}

// A BUSY record is never overwritten. Its commit wakes a reader that waits for it, even if the
// reader was far behind when it began to wait.
func TestOverwriteBusy(t *testing.T) {
	tests := []struct {
		rule   string
		before uint64 // records before the BUSY one
		seen   bool   // a pass sees the BUSY record before the records behind it are written
		behind uint64 // records behind the BUSY one
	}{
		{"at the start", 0, false, 0},
		{"behind records", 10, false, 10},
		{"behind records that are overwritten", 1000 * scale, false, 1},
		{"with the ring full behind it", 1000 * scale, false, 1000 * scale},
		{"that a pass has seen", 5, true, 1000 * scale},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			m := overwriting(t, testenv.PageSize)
			p, r, l := load(t, m), reader(t, m, consumer.Options{Timer: -1}), ledger{}
			pass := func() {
				for rec := range r.Pass(0) {
					l.add(t, rec)
				}
				if err := r.Err(); err != nil {
					t.Fatal(err)
				}
			}
			run(t, p, producer.Job{Op: producer.Output, Size: 16, Count: tt.before})
			h := hold(t, p, tt.before)
			if tt.seen {
				pass()
			}
			// The job continues although the ring becomes full.
			if _, err := p.Run(t.Context(), producer.Job{Op: producer.Output, Size: 16, Seq: tt.before + 1, Count: tt.behind}); err != nil {
				t.Fatal(err)
			}
			committed := make(chan struct{})
			go func() {
				defer close(committed)
				asleep(t)
				s, err := r.Stats()
				if err != nil || !s.Busy || s.BusyPos != tt.before*24 {
					t.Errorf("BUSY at %d, want %d: %+v, %v", s.BusyPos, tt.before*24, s, err)
				}
				if err := h.Commit(); err != nil {
					t.Error(err)
				}
			}()
			for l.next <= tt.before {
				if err := r.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				pass()
			}
			<-committed
			if s := stats(t, r); s.Lost+l.bytes != l.end || s.Lost != l.gaps {
				t.Errorf("%d bytes read, gaps of %d bytes, %+v", l.bytes, l.gaps, s)
			}
		})
	}
}

func TestOverwriteInAGroup(t *testing.T) {
	testenv.NoLeaks(t)
	maps := []*ebpf.Map{overwriting(t, testenv.PageSize), testenv.Ring(t, testenv.PageSize)}
	g := group(t, consumer.Options{Timer: -1}, maps...)
	for i, m := range maps {
		pg := pinger(t, load(t, m), ten)
		for n := range uint64(10) {
			pinged := pingAsleep(t, pg)
			if ring, got, err := groupRead(t, t.Context(), g); ring != i || got != n || err != nil {
				t.Fatalf("record %d of ring %d, %v", got, ring, err)
			}
			<-pinged
		}
	}
}

func TestOverwriteLosesNoWakeup(t *testing.T) {
	testenv.NoLeaks(t)
	m := overwriting(t, testenv.PageSize)
	p, r := load(t, m), reader(t, m, consumer.Options{Timer: -1})
	trips(t, long(50_000, 200), 1, pinger(t, p, ten).Ping, readOne(t, r))
}

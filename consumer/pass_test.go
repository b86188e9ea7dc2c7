package consumer_test

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

// ten produces ten records of 16 bytes, numbered from 0.
var ten = producer.Job{Op: producer.Output, Size: 16, Count: 10}

var passTests = []struct {
	rule string
	read func(t *testing.T, r *consumer.Reader)
	left []uint64 // records of the next pass
}{
	{
		"a pass without a limit consumes all",
		func(t *testing.T, r *consumer.Reader) { seqs(t, r, 0) },
		nil,
	},
	{
		"a limit consumes so many",
		func(t *testing.T, r *consumer.Reader) { seqs(t, r, 3) },
		from(3, 7),
	},
	{
		"limits add up",
		func(t *testing.T, r *consumer.Reader) { seqs(t, r, 3); seqs(t, r, 1); seqs(t, r, 5) },
		from(9, 1),
	},
	{
		"a limit beyond the last record is none",
		func(t *testing.T, r *consumer.Reader) { seqs(t, r, 1000) },
		nil,
	},
	{
		"leaving at the first record consumes nothing",
		func(t *testing.T, r *consumer.Reader) {
			for range r.Pass(0) {
				break
			}
		},
		from(0, 10),
	},
	{
		"leaving at a record leaves it and the later ones",
		func(t *testing.T, r *consumer.Reader) {
			for rec := range r.Pass(0) {
				if seq(t, rec) == 4 {
					break
				}
			}
		},
		from(4, 6),
	},
	{
		"leaving at the last record of a limit leaves it",
		func(t *testing.T, r *consumer.Reader) {
			for rec := range r.Pass(2) {
				if seq(t, rec) == 1 {
					break
				}
			}
		},
		from(1, 9),
	},
	{
		"leaving Records at a record leaves it",
		func(t *testing.T, r *consumer.Reader) {
			for rec, err := range r.Records(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				if seq(t, rec) == 4 {
					break
				}
			}
		},
		from(4, 6),
	},
	{
		"Read consumes what it returns",
		func(t *testing.T, r *consumer.Reader) {
			for range 4 {
				if _, err := r.Read(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		},
		from(4, 6),
	},
	{
		"a pass that takes over begins where the kernel was told",
		func(t *testing.T, r *consumer.Reader) {
			for rec := range r.Pass(0) {
				if seq(t, rec) == 4 {
					if diff := cmp.Diff(from(0, 7), seqs(t, r, 7)); diff != "" {
						t.Errorf("records of the inner pass (-want +got):\n%s", diff)
					}
					break
				}
			}
		},
		from(7, 3),
	},
}

func TestWhatAPassConsumes(t *testing.T) {
	for _, tt := range passTests {
		t.Run(tt.rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			m := testenv.Ring(t, testenv.PageSize)
			run(t, load(t, m), ten)
			r := reader(t, m, consumer.Options{})
			tt.read(t, r)
			if diff := cmp.Diff(tt.left, seqs(t, r, 0)); diff != "" {
				t.Errorf("left in the ring (-want +got):\n%s", diff)
			}
			if s := stats(t, r); s.ConsumerPos != s.ProducerPos || s.Backlog != 0 {
				t.Errorf("after the last pass: %+v", s)
			}
		})
	}
}

func TestPassEndsWhereItBeganToLook(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	p := load(t, m)
	pg := pinger(t, p, ten)
	ping(t, pg)
	ping(t, pg)
	r := reader(t, m, consumer.Options{})
	var got []uint64
	for rec := range r.Pass(0) {
		got = append(got, seq(t, rec))
		ping(t, pg)
	}
	if diff := cmp.Diff(from(0, 2), got); diff != "" {
		t.Errorf("first pass (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(from(2, 2), seqs(t, r, 0)); diff != "" {
		t.Errorf("second pass (-want +got):\n%s", diff)
	}
}

func TestPassEndsAtABusyRecord(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	p := load(t, m)
	run(t, p, producer.Job{Op: producer.Output, Size: 16, Count: 2})
	h := hold(t, p, 2)
	run(t, p, producer.Job{Op: producer.Output, Size: 16, Seq: 3, Count: 2})
	r := reader(t, m, consumer.Options{})
	if diff := cmp.Diff(from(0, 2), seqs(t, r, 0)); diff != "" {
		t.Errorf("before the BUSY record (-want +got):\n%s", diff)
	}
	if got := seqs(t, r, 0); got != nil {
		t.Errorf("at the BUSY record: %d", got)
	}
	if err := h.Commit(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(from(2, 3), seqs(t, r, 0)); diff != "" {
		t.Errorf("once committed (-want +got):\n%s", diff)
	}
}

// If a loop body never returns, the unpublished records of its pass are handed out again, and its
// published records stay published.
func TestBodyThatDoesNotReturn(t *testing.T) {
	leave := map[string]func(){
		"panic":  func() { panic("body") },
		"Goexit": runtime.Goexit,
	}
	for name, leave := range leave {
		t.Run(name, func(t *testing.T) {
			testenv.NoLeaks(t)
			m := testenv.Ring(t, testenv.PageSize)
			p := load(t, m)
			before := mapped(t)
			func() {
				r, err := consumer.NewReader(m, consumer.Options{})
				if err != nil {
					t.Fatal(err)
				}
				// 60 records of 24 bytes in a page of 4 KiB are more than an eighth of the ring.
				span := 24 * scale
				run(t, p, producer.Job{Op: producer.Output, Size: uint32(span) - ring.HeaderSize, Count: 60})
				left := make(chan uint64)
				go func() {
					defer close(left)
					defer func() { recover() }()
					for rec := range r.Pass(0) {
						if seq(t, rec) == 50 {
							left <- stats(t, r).ConsumerPos
							leave()
						}
					}
				}()
				told := <-left
				<-left
				if told == 0 || told > 50*span {
					t.Errorf("consumer position in the body of record 50: %d", told)
				}
				got := seqs(t, r, 0)
				if diff := cmp.Diff(from(told/span, 60-told/span), got); diff != "" {
					t.Errorf("records of the next pass (-want +got):\n%s", diff)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
			}()
			untilMapped(t, before)
			reader(t, m, consumer.Options{}) // succeeds, since the claim was released too
		})
	}
}

// A loop body that continues after an inner pass took over reads memory that was returned to the
// producer. Its records cannot be trusted, but nothing breaks, and the positions are those of the
// inner pass.
func TestOuterPassThatGoesOn(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	p := load(t, m)
	run(t, p, ten)
	r := reader(t, m, consumer.Options{})
	turns := 0
	for rec := range r.Pass(0) {
		if turns++; turns == 1 {
			if got := len(seqs(t, r, 0)); got != 10 {
				t.Errorf("inner pass had %d records", got)
			}
			run(t, p, producer.Job{Op: producer.Output, Size: 100, Count: 30, Seq: 10})
		}
		_ = rec.Data[len(rec.Data)-1]
	}
	if turns > 10 {
		t.Errorf("outer pass had %d records", turns)
	}
	if diff := cmp.Diff(from(10, 30), seqs(t, r, 0)); diff != "" {
		t.Errorf("records of the next pass (-want +got):\n%s", diff)
	}
	if got := stats(t, r).Records; got != 40 {
		t.Errorf("%d records counted", got)
	}
}

// mapped counts the mappings of BPF maps in this process.
func mapped(tb testing.TB) int {
	tb.Helper()
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		tb.Fatal(err)
	}
	return strings.Count(string(text), "bpf-map")
}

// untilMapped waits until the garbage collector has unmapped the rings of unreachable Readers and n
// mappings are left. It fails the test after a bounded time.
func untilMapped(tb testing.TB, n int) {
	tb.Helper()
	for deadline := time.Now().Add(10 * time.Second); mapped(tb) > n; runtime.GC() {
		if time.Now().After(deadline) {
			tb.Fatalf("%d mappings are left, want %d", mapped(tb), n)
		}
	}
}

func TestBeforePublishFails(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			testenv.NoLeaks(t)
			m := testenv.Ring(t, testenv.PageSize)
			p, o := load(t, m), observe(t, m)
			run(t, p, producer.Job{Op: producer.Output, Size: uint32(24*scale) - ring.HeaderSize, Count: 100})
			cause := errors.New("disk full")
			calls := 0
			r, err := consumer.NewReader(m, consumer.Options{BeforePublish: func() error { calls++; return cause }})
			if err != nil {
				t.Fatal(err)
			}
			got := 0
			err = way.take(t.Context(), r, 100, func(consumer.Record) { got++ })
			if !errors.Is(err, cause) {
				t.Errorf("error %v", err)
			}
			// An eighth of a ring of 4 KiB contains 21 records of 24 bytes.
			if calls != 1 || got != 21 {
				t.Errorf("called %d times, after %d records", calls, got)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if pos := o.ConsumerPos(); calls != 1 || pos != 0 {
				t.Errorf("after Close: called %d times, consumer position %d", calls, pos)
			}
			if diff := cmp.Diff(from(0, 100), seqs(t, reader(t, m, consumer.Options{}), 0)); diff != "" {
				t.Errorf("the next Reader gets (-want +got):\n%s", diff)
			}
		})
	}
}

// BeforePublish is called before consumption is published.
func TestBeforePublishComesFirst(t *testing.T) {
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			testenv.NoLeaks(t)
			m := testenv.Ring(t, testenv.PageSize)
			p, o := load(t, m), observe(t, m)
			run(t, p, producer.Job{Op: producer.Output, Size: 16, Count: 100})
			var read, kept uint64 // ends of the last record read: now, and at the last BeforePublish
			r := reader(t, m, consumer.Options{BeforePublish: func() error {
				kept = read
				return nil
			}})
			check := func() {
				if pos := uint64(o.ConsumerPos()); pos > kept {
					t.Errorf("consumer position %d, kept up to %d", pos, kept)
				}
			}
			err := way.take(t.Context(), r, 100, func(rec consumer.Record) {
				check()
				read = rec.Pos + ring.Span(16)
			})
			check()
			if err != nil {
				t.Error(err)
			}
			settle(t, r)
			if kept != 100*24 || uint64(o.ConsumerPos()) != kept {
				t.Errorf("kept up to %d, consumer position %d", kept, o.ConsumerPos())
			}
		})
	}
}

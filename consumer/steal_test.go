package consumer_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

// scale is the size of a page in units of 4 KiB. Records grow with the pages, so that a ring of one page
// always holds the same number of them.
var scale = uint64(testenv.PageSize) / 4096

// slot is the size of a record with its header. A ring of one page holds 63 of them.
var slot = 64 * scale

// slots produces count records of slot bytes, numbered from first.
func slots(tb testing.TB, p *producer.Producer, first, count uint64) {
	tb.Helper()
	run(tb, p, producer.Job{Op: producer.Output, Size: uint32(slot) - ring.HeaderSize, Seq: first, Count: count})
}

// consuming maps m like a consumer that claims nothing.
func consuming(tb testing.TB, m *ebpf.Map) *ring.Mapping {
	tb.Helper()
	c, err := ring.Consume(m.FD(), uint64(m.MaxEntries()))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		c.Close()
		if err := c.Unmap(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// The ring is stolen while BeforePublish of its Reader runs, which can take any time.
func TestARingStolenDuringBeforePublishStaysUsable(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	p := load(t, m)
	slots(t, p, 0, 20)
	var thief *consumer.Reader
	var got []uint64
	opts := exclusive
	opts.BeforePublish = func() error {
		if thief == nil {
			thief = reader(t, m, steal)
			for first := uint64(20); first < 200; first += 60 {
				got = append(got, seqs(t, thief, 0)...)
				slots(t, p, first, 60)
			}
		}
		return nil
	}
	r := reader(t, m, opts)
	for range r.Pass(0) {
	}
	robbed(t, r.Err(), os.Getpid())
	got = append(got, seqs(t, thief, 0)...)
	slots(t, p, 200, 63) // fills the ring, which is free
	got = append(got, seqs(t, thief, 0)...)
	if diff := cmp.Diff(from(0, 263), got); diff != "" {
		t.Errorf("the thief's records (-want +got):\n%s", diff)
	}
}

// A Reader is stopped right before it publishes, and its ring is stolen. It publishes when it
// continues.
func TestAThiefFollowsALatePublication(t *testing.T) {
	for _, tt := range []struct {
		rule  string
		to    uint64   // number of the record at which the late publication ends
		limit int      // of the thief's pass
		pass  []uint64 // its records
		next  uint64   // first record of the next pass
	}{
		{"behind the thief's own", 5, 0, from(0, 20), 20},
		{"before it", 15, 0, append(from(0, 8), from(15, 5)...), 20}, // the thief publishes after an eighth of the ring
		{"before the end of the thief's pass", 15, 5, from(0, 5), 15},
		{"up to the producer", 20, 5, from(0, 5), 20},
		{"where the thief is", 5, 5, from(0, 5), 5},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			m := testenv.Ring(t, testenv.PageSize)
			p, late := load(t, m), consuming(t, m)
			slots(t, p, 0, 20)
			reader(t, m, exclusive)
			thief := reader(t, m, steal)
			var got []uint64
			for rec := range thief.Pass(tt.limit) {
				if len(got) == 0 {
					if !late.MoveConsumerPos(0, ring.Pos(tt.to*slot)) {
						t.Fatal("the thief published before it had consumed anything")
					}
					slots(t, p, 20, 43+tt.to) // overwrites the published records
				}
				got = append(got, seq(t, rec))
			}
			if diff := cmp.Diff(tt.pass, got); diff != "" {
				t.Errorf("during the late publication (-want +got):\n%s", diff)
			}
			if err := thief.Err(); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(from(tt.next, 63+tt.to-tt.next), seqs(t, thief, 0)); diff != "" {
				t.Errorf("after the late publication (-want +got):\n%s", diff)
			}
			slots(t, p, 63+tt.to, 63)
			if got := seqs(t, thief, 0); len(got) != 63 {
				t.Errorf("%d of 63 records when the ring is full", len(got))
			}
		})
	}
}

// The consumers of libbpf do not claim their ring, and may store their position at any time.
func TestAThiefBesideAForeignConsumer(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	p, foreign := load(t, m), consuming(t, m)
	thief := reader(t, m, steal)
	slots(t, p, 0, 40)
	if got := seqs(t, thief, 10); len(got) != 10 {
		t.Fatalf("%d of 10 records", len(got))
	}
	foreign.SetConsumerPos(ring.Pos(20 * slot)) // forward: the foreign consumer has read 20 records
	if diff := cmp.Diff(from(20, 10), seqs(t, thief, 10)); diff != "" {
		t.Errorf("behind the foreign consumer (-want +got):\n%s", diff)
	}
	foreign.SetConsumerPos(ring.Pos(22 * slot)) // backward
	if diff := cmp.Diff(from(30, 10), seqs(t, thief, 10)); diff != "" {
		t.Errorf("before the foreign consumer (-want +got):\n%s", diff)
	}
	if s := stats(t, thief); s.Backlog != 0 {
		t.Errorf("the ring is not given back: %+v", s)
	}
}

func TestAnUnclaimedReaderDoesNotMoveAnothersPosition(t *testing.T) {
	testenv.NoLeaks(t)
	for _, to := range []uint64{0, 10, 20} {
		m := testenv.Ring(t, testenv.PageSize)
		p := load(t, m)
		slots(t, p, 0, 20)
		r, err := consumer.NewReader(m, consumer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		seqs(t, r, 5)
		setConsumerPos(t, m, to*slot)
		for range r.Pass(0) {
		}
		if err := r.Err(); !errors.Is(err, consumer.ErrCorrupt) || !strings.Contains(err.Error(), "another process consumes the ring") {
			t.Errorf("moved to record %d: %v", to, err)
		}
		if s := stats(t, r); s.ConsumerPos != to*slot {
			t.Errorf("moved to record %d, then to position %d", to, s.ConsumerPos)
		}
		r.Close()
	}
}

// Every reading method of a robbed Reader fails, whether the ring has records or not.
func TestEveryWayToReadEndsWhenTheRingIsStolen(t *testing.T) {
	for _, way := range ways {
		for _, records := range []uint64{0, 3} {
			t.Run(way.name, func(t *testing.T) {
				testenv.NoLeaks(t)
				m := testenv.Ring(t, testenv.PageSize)
				slots(t, load(t, m), 0, records)
				r := reader(t, m, exclusive)
				reader(t, m, steal)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				robbed(t, way.take(ctx, r, 1, func(rec consumer.Record) {
					t.Errorf("the robbed reader reads record %d", seq(t, rec))
				}), os.Getpid())
			})
		}
	}
}

func TestASleepingReaderLearnsThatItsRingIsStolen(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	r := reader(t, m, exclusive)
	ended := make(chan error, 1)
	go func() {
		_, err := r.Read(t.Context())
		ended <- err
	}()
	asleep(t)
	thief := reader(t, m, steal)
	robbed(t, <-ended, os.Getpid())
	thief.Close()
}

// If a ring is stolen from a Group, the Group continues to read its other rings.
func TestAGroupLeavesAStolenRing(t *testing.T) {
	testenv.NoLeaks(t)
	stolen, kept := testenv.Ring(t, testenv.PageSize), testenv.Ring(t, testenv.PageSize)
	g := group(t, exclusive, stolen, kept)
	slots(t, load(t, kept), 0, 3)
	slots(t, load(t, stolen), 0, 3)
	reader(t, stolen, steal)
	var records, errs int
	for range 3 {
		for rec := range g.Pass(0) {
			if rec.Ring != 1 {
				t.Errorf("record %d of the stolen ring", seq(t, rec))
			}
			records++
		}
		if err := g.Err(); err != nil {
			robbed(t, err, os.Getpid())
			errs++
		}
	}
	if records != 3 || errs != 1 {
		t.Errorf("%d records and %d errors, want 3 and 1", records, errs)
	}
}

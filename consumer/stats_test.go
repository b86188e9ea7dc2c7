package consumer_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestStats(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	p := load(t, m)
	r := reader(t, m, consumer.Options{})
	var want consumer.Stats
	check := func(when string) {
		t.Helper()
		if diff := cmp.Diff(want, stats(t, r)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	check("a new ring")

	// 30 records of 24 bytes are produced, and every third is discarded.
	run(t, p, producer.Job{Op: producer.Reserve, Size: 16, Count: 30, DiscardEvery: 3})
	want = consumer.Stats{ProducerPos: 720, Backlog: 720, Unread: 720}
	check("nothing read")

	// Record 7 is the sixth that is handed out: 0 1 3 4 6 7.
	for range r.Pass(5) {
	}
	want = consumer.Stats{ConsumerPos: 168, ProducerPos: 720, Backlog: 552, Unread: 552, Records: 5, Bytes: 80, Discarded: 2}
	check("after five records")

	for range r.Pass(0) {
		break
	}
	check("after none")

	for range r.Pass(0) {
	}
	want = consumer.Stats{ConsumerPos: 720, ProducerPos: 720, Records: 20, Bytes: 320, Discarded: 10}
	check("after all")

	run(t, p, producer.Job{Op: producer.Output, Size: 1, Count: 1})
	run(t, p, producer.Job{Op: producer.Output, Size: 0, Count: 1})
	if _, err := r.Read(t.Context()); err != nil {
		t.Error(err)
	}
	want = consumer.Stats{ConsumerPos: 720, ProducerPos: 744, Backlog: 24, Unread: 8, Records: 20, Bytes: 320, Discarded: 10}
	check("after a Read that the kernel was not told of")
	settleAll(t, r)
	want = consumer.Stats{ConsumerPos: 744, ProducerPos: 744, Records: 22, Bytes: 321, Discarded: 10}
	check("once it was told")

	// The counters of a new Reader start at 0. The positions are those of the ring.
	r2 := reader(t, m, consumer.Options{Shared: true})
	want = consumer.Stats{ConsumerPos: 744, ProducerPos: 744}
	if diff := cmp.Diff(want, stats(t, r2)); diff != "" {
		t.Errorf("another Reader (-want +got):\n%s", diff)
	}
}

func settleAll(t *testing.T, r *consumer.Reader) {
	t.Helper()
	for range r.Pass(0) {
	}
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
}

// Counters move during a long pass.
func TestStatsDuringAPass(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	run(t, load(t, m), producer.Job{Op: producer.Output, Size: 16, Count: 100})
	r := reader(t, m, consumer.Options{})
	n := uint64(0)
	for range r.Pass(0) {
		s := stats(t, r)
		if behind := n - s.Records; behind > uint64(testenv.PageSize)/8/24 { // an eighth of the ring
			t.Errorf("in the body of record %d, %d are counted", n, s.Records)
		}
		if s.Records*24 != s.ConsumerPos || s.Records*16 != s.Bytes {
			t.Errorf("in the body of record %d: %+v", n, s)
		}
		n++
	}
}

func TestStatsOfABusyHead(t *testing.T) {
	noAge := cmpopts.IgnoreFields(consumer.Stats{}, "BusyAge")
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	p := load(t, m)
	run(t, p, ten)
	h := hold(t, p, 10)
	run(t, p, producer.Job{Op: producer.Output, Size: 16, Count: 2, Seq: 11})
	r := reader(t, m, consumer.Options{})

	want := consumer.Stats{ProducerPos: 312, Backlog: 312, Unread: 312}
	if diff := cmp.Diff(want, stats(t, r)); diff != "" {
		t.Errorf("a BUSY record that is not the head (-want +got):\n%s", diff)
	}
	settleAll(t, r)
	want = consumer.Stats{
		ConsumerPos: 240, ProducerPos: 312, Backlog: 72, Unread: 72, Records: 10, Bytes: 160,
		Busy: true, BusyPos: 240,
	}
	first := stats(t, r)
	if diff := cmp.Diff(want, first, noAge); diff != "" {
		t.Errorf("at the head (-want +got):\n%s", diff)
	}
	settleAll(t, r)
	second := stats(t, r)
	if first.BusyAge <= 0 || second.BusyAge <= first.BusyAge {
		t.Errorf("BUSY for %v, later for %v", first.BusyAge, second.BusyAge)
	}
	if err := h.Discard(); err != nil {
		t.Fatal(err)
	}
	settleAll(t, r)
	want = consumer.Stats{ConsumerPos: 312, ProducerPos: 312, Records: 12, Bytes: 192, Discarded: 1}
	if diff := cmp.Diff(want, stats(t, r)); diff != "" {
		t.Errorf("once discarded (-want +got):\n%s", diff)
	}

	// If another record at the head is BUSY, BusyAge starts at 0 again.
	began := time.Now()
	h = hold(t, p, 13)
	if s := stats(t, r); s.BusyPos != 312 || s.BusyAge > time.Since(began) {
		t.Errorf("BUSY at %d for %v", s.BusyPos, s.BusyAge)
	}
	if err := h.Commit(); err != nil {
		t.Fatal(err)
	}
	settleAll(t, r)
}

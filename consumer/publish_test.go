package consumer_test

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

// At any time at most an eighth of the ring is consumed and not published. The loop body checks
// that through a mapping of its own.
func TestUnpublishedIsBounded(t *testing.T) {
	const ringSize = 64 << 10
	tests := []struct {
		rule      string
		min, max  uint32
		coalesce  bool
		discarded uint64
	}{
		{rule: "short records", min: 8, max: 8},
		{rule: "records of many lengths", min: 8, max: 3000},
		{rule: "records of an eighth with their header", min: ringSize/8 - 8, max: ringSize/8 - 8},
		{rule: "a bit more than an eighth", min: ringSize/8 + 8, max: ringSize/8 + 8},
		{rule: "half the ring", min: ringSize / 2, max: ringSize / 2},
		{rule: "short and long mixed", min: 8, max: ringSize / 3},
		{rule: "with discarded ones between", min: 100, max: 100, discarded: 2},
		{rule: "while space is held back", min: 8, max: 3000, coalesce: true},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			m := testenv.Ring(t, ringSize)
			p, o := load(t, m), observe(t, m)
			opts := consumer.Options{}
			if tt.coalesce {
				opts.Coalesce = 1
			}
			r := reader(t, m, opts)
			job := producer.Job{Op: producer.Output, Size: tt.min, MaxSize: tt.max, Count: 500}
			if tt.discarded > 0 {
				job.Op, job.DiscardEvery = producer.Reserve, tt.discarded
			}
			for range long(50, 5) {
				res, err := p.Run(t.Context(), job)
				if err != nil {
					t.Fatal(err)
				}
				var got, most uint64
				for rec := range r.Pass(0) {
					// consumer_pos moves only forward.
					pos := uint64(o.ConsumerPos())
					most = max(most, rec.Pos-pos)
					if span := ring.Span(uint32(len(rec.Data))); span > ringSize/8 && pos != rec.Pos {
						t.Errorf("a record longer than an eighth is handed out with %d bytes unpublished", rec.Pos-pos)
					}
					got++
				}
				if r.Err() != nil || got != res.Submitted || got == 0 {
					t.Fatalf("pass had %d of %d records, %v", got, res.Submitted, r.Err())
				}
				if most > ringSize/8 {
					t.Errorf("%d bytes were unpublished", most)
				}
				if held := o.ProducerPos() - o.ConsumerPos(); !tt.coalesce && held > 0 || held > ringSize/8 {
					t.Errorf("%d bytes are held back after the pass", held)
				}
				job.Seq = res.Next
			}
		})
	}
}

// With Coalesce, a pass holds back the space of its last record until the Reader sleeps.
func TestCoalesceHoldsOneRecord(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	p, o := load(t, m), observe(t, m)
	r := reader(t, m, consumer.Options{Coalesce: time.Microsecond})
	check := func(when string, want uint64) {
		t.Helper()
		if pos := uint64(o.ConsumerPos()); pos != want {
			t.Errorf("%s: consumer position %d, want %d", when, pos, want)
		}
	}
	run(t, p, ten)
	seqs(t, r, 0)
	check("after a pass", 9*24)
	seqs(t, r, 0)
	check("after a pass that found nothing", 9*24)
	run(t, p, ten)
	seqs(t, r, 4)
	check("after a pass with a limit", 13*24)

	seqs(t, r, 0)
	pinged := make(chan struct{})
	pg := pinger(t, p, ten)
	go func() {
		defer close(pinged)
		asleep(t)
		check("asleep", 20*24)
		ping(t, pg)
	}()
	if err := r.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-pinged
	for range r.Pass(0) {
		break
	}
	check("after a pass that consumed nothing", 20*24)
	seqs(t, r, 0)
	check("after the last", 20*24)

	run(t, p, producer.Job{Op: producer.Output, Size: uint32(600 * scale), Count: 1})
	seqs(t, r, 0)
	check("after a record longer than an eighth", 21*24+ring.Span(uint32(600*scale)))
}

func TestReadPublishesLater(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	p, o := load(t, m), observe(t, m)
	span := 24 * scale // 21 records are an eighth of the ring
	run(t, p, producer.Job{Op: producer.Output, Size: uint32(span) - ring.HeaderSize, Count: 30})
	r := reader(t, m, consumer.Options{})
	read := func(n int) {
		t.Helper()
		for range n {
			if _, err := r.Read(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	read(21)
	if pos := o.ConsumerPos(); pos != 0 {
		t.Errorf("position %d after an eighth of the ring", pos)
	}
	read(1)
	if pos := uint64(o.ConsumerPos()); pos != 21*span {
		t.Errorf("position %d after more than an eighth", pos)
	}
	read(8)
	pg := pinger(t, p, producer.Job{Op: producer.Output, Size: 16, Seq: 30})
	go func() {
		testenv.Asleep(t, "consumer.(*Reader).Wait")
		if pos := uint64(o.ConsumerPos()); pos != 30*span {
			t.Errorf("position %d while it sleeps", pos)
		}
		ping(t, pg)
	}()
	read(1)
}

// The next Reader begins where the previous one stopped consuming.
func TestResume(t *testing.T) {
	tests := []struct {
		rule string
		opts consumer.Options
		read func(t *testing.T, r *consumer.Reader)
		next uint64
	}{
		{"behind a pass", consumer.Options{}, func(t *testing.T, r *consumer.Reader) { seqs(t, r, 3) }, 3},
		{"at the record that a loop was left at", consumer.Options{}, func(t *testing.T, r *consumer.Reader) {
			for rec := range r.Pass(0) {
				if seq(t, rec) == 5 {
					break
				}
			}
		}, 5},
		{"behind what Read returned: Close tells the kernel", consumer.Options{}, read4, 4},
		{"behind what was held back: Close tells the kernel", consumer.Options{Coalesce: 1},
			func(t *testing.T, r *consumer.Reader) { seqs(t, r, 3) }, 3},
		{"but with BeforePublish Close tells nothing", consumer.Options{BeforePublish: func() error { return nil }}, read4, 0},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			m := testenv.Ring(t, testenv.PageSize)
			run(t, load(t, m), ten)
			r, err := consumer.NewReader(m, tt.opts)
			if err != nil {
				t.Fatal(err)
			}
			tt.read(t, r)
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			got := seqs(t, reader(t, m, consumer.Options{}), 0)
			if diff := cmp.Diff(from(tt.next, 10-tt.next), got); diff != "" {
				t.Errorf("the next Reader gets (-want +got):\n%s", diff)
			}
		})
	}
}

func read4(t *testing.T, r *consumer.Reader) {
	for range 4 {
		if _, err := r.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// Rings of all sizes are filled twice and read.
func TestRingSizes(t *testing.T) {
	largest := uint64(long(1<<30, 1<<20))
	for size := uint64(os.Getpagesize()); size <= largest; size *= 4 {
		if free := memAvailable(t); size > free/2 {
			t.Logf("rings of %d bytes and more are left out, there are %d bytes of memory", size, free)
			break
		}
		t.Run(fmt.Sprintf("%d KiB", size>>10), func(t *testing.T) {
			testenv.NoLeaks(t)
			m := testenv.Ring(t, uint32(size))
			p := load(t, m)
			r := reader(t, m, consumer.Options{})
			job := producer.Job{Op: producer.Output, Size: uint32(min(size/4, producer.MaxRecord)), Fast: true}
			job.Count = (size - 8) / ring.Span(job.Size)
			for range 2 {
				run(t, p, job)
				if s := stats(t, r); s.Backlog != job.Count*ring.Span(job.Size) {
					t.Errorf("backlog %d with %d records", s.Backlog, job.Count)
				}
				next := job.Seq
				for rec := range r.Pass(0) {
					if le64(rec.Data) != next || len(rec.Data) != int(job.Size) {
						t.Fatalf("record %d has number %d and %d bytes", next, le64(rec.Data), len(rec.Data))
					}
					next++
				}
				if job.Seq += job.Count; next != job.Seq || r.Err() != nil {
					t.Fatalf("read up to record %d, want %d, %v", next, job.Seq, r.Err())
				}
			}
		})
	}
}

// memAvailable returns the machine's available memory in bytes.
func memAvailable(tb testing.TB) uint64 {
	tb.Helper()
	file, err := os.Open("/proc/meminfo")
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if rest, found := strings.CutPrefix(lines.Text(), "MemAvailable:"); found {
			var kib uint64
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				tb.Fatal(err)
			}
			return kib << 10
		}
	}
	tb.Fatal("no MemAvailable in /proc/meminfo")
	return 0
}

package drops

import (
	"context"
	"testing"
	"time"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

// scene is a ring with programs that produce bursts, and a consumer that consumes between them.
type scene struct {
	job    producer.Job
	bursts int
	// consume is how many records the consumer consumes after a burst; 0 for all.
	consume uint64
}

// result is what became of the records of a scene, and the advice.
type result struct {
	failed, written uint64 // as the program counts them
	Advice
}

// play plays the scene on a ring of size bytes. The Advisor gets the failures from the program that counts them itself.
func (s scene) play(t *testing.T, size uint32) (r result) {
	t.Helper()
	m := testenv.Ring(t, size)
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	reader, err := consumer.NewReader(m, consumer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	a, err := NewAdvisor(m)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for range s.bursts {
		did, err := p.Run(context.Background(), s.job)
		if err != nil {
			t.Fatal(err)
		}
		s.job.Seq = did.Next
		r.failed += did.Failed
		r.written += did.Submitted
		a.Note(r.failed * ring.Span(s.job.Size))
		left := s.consume
		for range reader.Pass(0) {
			if left--; left == 0 {
				break
			}
		}
		if reader.Err() != nil {
			t.Fatal(reader.Err())
		}
		a.Note(r.failed * ring.Span(s.job.Size))
		// The next burst overwrites these records.
		for deadline := time.Now().Add(20 * time.Second); a.Advice().Records < r.written && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond) // an Advisor polls: it cannot be waited for
		}
	}
	r.Advice = a.Advice()
	if r.Records != r.written || r.Unseen != 0 || r.Err != nil {
		t.Fatalf("the advisor saw %d of %d records, %d bytes were unseen: %v", r.Records, r.written, r.Unseen, r.Err)
	}
	return r
}

func TestASizeThatWasAdvisedHoldsTheBursts(t *testing.T) {
	bursts := scene{job: producer.Job{Op: producer.Output, Count: 4000, Size: 64}, bursts: 4}
	before := bursts.play(t, 1<<16)
	s := before.Sizing
	if before.failed == 0 || s.Verdict != Enlarge {
		t.Fatalf("%d records failed; %+v", before.failed, s)
	}
	if after := bursts.play(t, uint32(s.Suggested)); after.failed != 0 || after.Sizing.Verdict != Fits {
		t.Errorf("%d records failed with the %d bytes advised; %+v", after.failed, s.Suggested, after.Sizing)
	}
	if half := bursts.play(t, uint32(s.Suggested/2)); half.failed == 0 {
		t.Errorf("half of the %d bytes advised would do", s.Suggested)
	}
}

func TestNoSizeHelpsASlowConsumer(t *testing.T) {
	slow := scene{job: producer.Job{Op: producer.Output, Count: 4000, Size: 56}, bursts: 20, consume: 500}
	for _, size := range []uint32{1 << 16, 1 << 17} {
		got := slow.play(t, size)
		if s := got.Sizing; got.failed == 0 || s.Verdict != TooSlow || s.Suggested != 0 || s.ConsumeRate >= s.WriteRate {
			t.Errorf("ring of %d bytes: %d records failed; %+v", size, got.failed, s)
		}
	}
}

func TestRecordsAsLongAsNeededHoldTheBursts(t *testing.T) {
	// With Fast, the program writes only the number of a record, of 8 bytes.
	const first = 0x4041424344454647
	long := scene{job: producer.Job{Op: producer.Reserve, Fast: true, Count: 100, Seq: first, Size: 2048}, bursts: 8}
	before := long.play(t, 1<<16)
	if before.failed == 0 || len(before.Tails) != 1 {
		t.Fatalf("%d records failed; %+v", before.failed, before.Tails)
	}
	tail := before.Tails[0]
	average := tail.Len - uint32(tail.Unused/tail.Records)
	if average < 8 || tail.Gain() < 5 || tail.Stale == 0 {
		t.Fatalf("records need %d bytes, and a ring would hold %.1f times as many: %+v", average, tail.Gain(), tail)
	}
	short := scene{job: producer.Job{Op: producer.Reserve, Fast: true, Count: 100, Seq: first, Size: average}, bursts: 8}
	if after := short.play(t, 1<<16); after.failed != 0 {
		t.Errorf("%d records failed although they have only %d bytes", after.failed, average)
	}
}

func TestDiscardsAreCounted(t *testing.T) {
	got := scene{job: producer.Job{Op: producer.Reserve, Count: 300, Size: 16, DiscardEvery: 3}, bursts: 1}.play(t, 1<<16)
	if got.Records != 200 || got.Discarded != 100 || got.Seen != 200*24 || got.Skipped != 100*24 {
		t.Errorf("%+v", got.Advice)
	}
}

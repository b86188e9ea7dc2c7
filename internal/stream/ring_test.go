package stream

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// produce writes count records of 8 bytes, numbered from seq.
func produce(t *testing.T, p *producer.Producer, seq, count uint64) {
	t.Helper()
	if _, err := p.Run(t.Context(), producer.Job{Op: producer.Output, Size: 8, Seq: seq, Count: count}); err != nil {
		t.Fatal(err)
	}
}

// lossy is a Writer whose Flush returns err unless it is nil, as if the disk were full.
type lossy struct {
	*Writer
	err error
}

func (l *lossy) Flush() error {
	if l.err != nil {
		return l.err
	}
	return l.Writer.Flush()
}

func TestRecordsAreConsumedOnceTheyAreFlushed(t *testing.T) {
	m := testenv.Ring(t, testenv.PageSize)
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	produce(t, p, 0, 4)
	full := errors.New("disk full")
	var out strings.Builder
	for _, broken := range []error{full, nil} {
		sink := &lossy{hexWriter(&out), broken}
		src := consumeRings(t, consumer.Options{BeforePublish: sink.Flush})
		addRing(t, src, m, false)
		s := Stream{Source: src, Sink: sink, Limits: Limits{Records: 4}}
		if err := s.Run(t.Context()); !errors.Is(err, broken) {
			t.Errorf("got %v, want %v", err, broken)
		}
		if err := src.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 4 {
		t.Errorf("%d records after a failed flush and a retry: %q", n, out.String())
	}
}

func TestFromNowSkipsWhatIsInTheRing(t *testing.T) {
	m := testenv.Ring(t, testenv.PageSize)
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	produce(t, p, 0, 10)
	src := consumeRings(t, consumer.Options{})
	addRing(t, src, m, true)
	produce(t, p, 10, 3)
	recent := NewRecent(20, 8)
	s := Stream{Source: src, Sink: recent, Limits: Limits{Records: 3, For: time.Minute}}
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	recent.Take(func(rec *Record) {
		if err := producer.Verify(9+rec.Seq, rec.Data); err != nil {
			t.Error(err)
		}
	})
	if diff := gocmp.Diff(Stats{Seen: 3, Taken: 3, Bytes: 24}, s.Stats()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAStreamEndsAtItsTimeLimits(t *testing.T) {
	m := testenv.Ring(t, testenv.PageSize)
	for name, limits := range map[string]Limits{"for": {For: time.Millisecond}, "idle": {Idle: time.Millisecond}} {
		t.Run(name, func(t *testing.T) {
			src, err := Observe(m, consumer.ObserverOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			s := Stream{Source: src, Sink: NewRecent(1, 1), Limits: limits}
			if err := s.Run(t.Context()); err != nil {
				t.Error(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := s.Run(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
		})
	}
}

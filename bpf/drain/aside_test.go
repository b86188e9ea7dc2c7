package drain

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/rbtool/rbtool/internal/testenv"
)

// drainOn loads another Drain of the pair and starts it: by a run, the timer or a tracepoint, as
// how says.
func (p *pair) drainOn(t *testing.T, how string) {
	t.Helper()
	p.Drain = newDrain(t, p.user, Options{To: p.ring})
	switch how {
	case "run":
		p.run(t)
	case "timer":
		if err := p.Start(time.Millisecond); err != nil {
			t.Fatal(err)
		}
	case "tracepoint":
		if err := p.Attach("sys_enter"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestASampleThatHasNoRoomStaysInTheUserRing(t *testing.T) {
	for _, how := range []string{"run", "timer", "tracepoint"} {
		t.Run("the next drain is a "+how, func(t *testing.T) {
			p := newPair(t, testenv.PageSize, testenv.PageSize, Options{})
			fed := p.fillTarget(t)
			s, err := p.Stats()
			if err != nil || s.Aside || s.Full != 1 || s.Samples != fed-1 {
				t.Errorf("%+v, %v; want %d samples", s, err, fed-1)
			}
			if got, want := p.producerPos()-p.consumerPos(), span(100); got != want {
				t.Errorf("%d bytes in the user ring, want %d", got, want)
			}
			if err := p.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			if _, err := p.Run(RunOptions{}); !errors.Is(err, os.ErrClosed) {
				t.Errorf("run after close: %v", err)
			}
			p.feed(payload(fed, 8))
			records := p.take(t)
			p.drainOn(t, how)
			for uint64(len(records)) < fed+1 {
				records = append(records, p.next(t).Data)
			}
			for seq, rec := range records {
				if got := binary.LittleEndian.Uint64(rec); got != uint64(seq) {
					t.Fatalf("record %d is sample %d", seq, got)
				}
			}
		})
	}
}

// Discarded samples are released only if the target has room for a sample that may follow them.
func TestDiscardedSamplesInFrontOfAFullTarget(t *testing.T) {
	p := newPair(t, testenv.PageSize, testenv.PageSize, Options{})
	p.fillTarget(t)
	if records := p.take(t); len(records) == 0 {
		t.Fatal("no records")
	}
	p.run(t)
	p.feedN(3, 8, discardBit)
	if res := p.run(t); res.Samples != 0 || res.Full {
		t.Errorf("%+v", res)
	}
	p.feed(payload(7, 8))
	if res := p.run(t); res.Samples != 1 || res.Delivered != 1 {
		t.Errorf("behind discarded ones: %+v", res)
	}
	p.take(t)
	p.feedN(20, 8, discardBit)
	p.run(t)
	if p.consumerPos() != p.producerPos() {
		t.Error("discarded samples were not released into an empty target")
	}
}

// A sample is delivered even if it follows as many discarded samples as the kernel releases in one
// run.
func TestASampleBehindManyDiscardedOnes(t *testing.T) {
	for _, discarded := range []int{maxRun - 2000, maxRun - 1000, maxRun - 1, maxRun, maxRun + 1} {
		p := newPair(t, 4<<20, 1<<20, Options{})
		p.feedN(discarded, 0, discardBit)
		p.feedN(3000, 8, 0)
		for range 5 {
			p.run(t)
		}
		records := p.take(t)
		for i, rec := range records {
			if got := binary.LittleEndian.Uint64(rec); got != uint64(i) {
				t.Fatalf("behind %d: record %d is sample %d", discarded, i, got)
			}
		}
		if len(records) != 3000 {
			t.Errorf("behind %d: %d records, want 3000", discarded, len(records))
		}
	}
}

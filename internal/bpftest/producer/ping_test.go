package producer

import (
	"errors"
	"os"
	"testing"

	"github.com/rbtool/rbtool/internal/testenv"
)

func newPinger(tb testing.TB, p *Producer, job Job) *Pinger {
	tb.Helper()
	pinger, err := p.Pinger(job)
	testenv.SkipIfNotSupported(tb, "ringbuf-"+job.Op.String(), err)
	if err != nil {
		tb.Fatal(err)
	}
	return pinger
}

func TestPingProducesOneRecord(t *testing.T) {
	for _, op := range []Op{Reserve, Output, Dynptr} {
		t.Run(op.String(), func(t *testing.T) {
			p, ring := load(t, 1<<16)
			rd := newReader(t, ring)
			job := Job{Op: op, Seq: 1000, Size: 32, Count: 1}
			pinger := newPinger(t, p, job)
			for range 100 {
				if err := pinger.Ping(); err != nil {
					t.Fatal(err)
				}
				rd.expect(job)
				job.Seq++
			}
		})
	}
}

func TestPingKeepsTheNumberWhenFull(t *testing.T) {
	p, ring := load(t, uint32(os.Getpagesize()))
	rd := newReader(t, ring)
	pinger := newPinger(t, p, Job{Size: uint32(os.Getpagesize()) - 16})
	if err := pinger.Ping(); err != nil {
		t.Fatal(err)
	}
	if err := pinger.Ping(); !errors.Is(err, ErrFull) {
		t.Errorf("full ring: %v, want ErrFull", err)
	}
	rd.next()
	if err := pinger.Ping(); err != nil {
		t.Fatal(err)
	}
	if err := Verify(1, rd.next()); err != nil {
		t.Error(err)
	}
}

// Other runs of the Producer between two Pings do not change what Ping produces: each Ping stores
// its whole job.
func TestPingAmongOthers(t *testing.T) {
	p, ring := load(t, 1<<16)
	rd := newReader(t, ring)
	a, b := newPinger(t, p, Job{Size: 10}), newPinger(t, p, Job{Size: 20, Seq: 50})
	for i := range uint64(3) {
		if err := errors.Join(a.Ping(), b.Ping()); err != nil {
			t.Fatal(err)
		}
		run(t, p, Job{Count: 1, Seq: 90 + i, Size: 30})
		for _, seq := range []uint64{i, 50 + i, 90 + i} {
			if err := Verify(seq, rd.next()); err != nil {
				t.Error(err)
			}
		}
	}
}

func BenchmarkPing(b *testing.B) {
	for _, op := range []Op{Reserve, Output, Dynptr} {
		b.Run(op.String(), func(b *testing.B) {
			p, ring := load(b, 1<<16)
			pinger := newPinger(b, p, Job{Op: op, Size: 16, Fast: true, Wakeup: NoWakeup})
			trash := mapPositions(b, ring)
			b.ReportAllocs()
			for b.Loop() {
				if err := pinger.Ping(); err != nil {
					b.Fatal(err)
				}
				trash.consume()
			}
		})
	}
}

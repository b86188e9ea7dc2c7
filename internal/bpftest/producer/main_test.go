package producer

import (
	"os"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) { os.Exit(testenv.Main(m)) }

// load returns a producer for a new ring of size bytes. Both are closed, and checked for leaks,
// when the test ends.
func load(tb testing.TB, size uint32) (*Producer, *ebpf.Map) {
	tb.Helper()
	testenv.NoLeaks(tb)
	ring := testenv.Ring(tb, size)
	p, err := Load(ring)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Errorf("close producer: %v", err)
		}
	})
	return p, ring
}

// run runs job, and fails the test if that returns an error.
func run(tb testing.TB, p *Producer, job Job) Result {
	tb.Helper()
	res, err := p.Run(tb.Context(), job)
	testenv.SkipIfNotSupported(tb, "ringbuf-"+job.Op.String(), err)
	if err != nil {
		tb.Fatal(err)
	}
	return res
}

// reader reads the records of p with cilium/ebpf instead of package consumer, whose tests use this
// package.
type reader struct {
	tb testing.TB
	*ringbuf.Reader
}

func newReader(tb testing.TB, ring *ebpf.Map) *reader {
	tb.Helper()
	rd, err := ringbuf.NewReader(ring)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { rd.Close() })
	return &reader{tb, rd}
}

// next waits for the next record, at most a minute, and returns it.
func (r *reader) next() []byte {
	r.tb.Helper()
	r.SetDeadline(time.Now().Add(time.Minute))
	rec, err := r.Read()
	if err != nil {
		r.tb.Fatalf("read record: %v", err)
	}
	return rec.RawSample
}

// none fails the test if the ring has a record.
func (r *reader) none() {
	r.tb.Helper()
	r.SetDeadline(time.Unix(1, 0)) // a deadline in the past: return the records in the ring, do not wait
	if rec, err := r.Read(); err == nil {
		r.tb.Fatalf("unexpected record of %d bytes", len(rec.RawSample))
	}
}

// expect reads the records in the ring, which must be exactly those that job submits.
func (r *reader) expect(job Job) {
	r.tb.Helper()
	for seq := job.Seq; seq != job.Seq+job.Count; seq++ {
		if job.Discarded(seq) {
			continue
		}
		rec := r.next()
		if len(rec) != int(job.Len(seq)) {
			r.tb.Fatalf("record %d: %d bytes, want %d", seq, len(rec), job.Len(seq))
		}
		if err := Verify(seq, rec); err != nil {
			r.tb.Fatal(err)
		}
	}
	r.none()
}

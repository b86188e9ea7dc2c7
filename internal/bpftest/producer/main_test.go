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

// run runs job, and fails the test after an error.
func run(tb testing.TB, p *Producer, job Job) Result {
	tb.Helper()
	res, err := p.Run(tb.Context(), job)
	testenv.SkipIfNotSupported(tb, "ringbuf-"+job.Op.String(), err)
	if err != nil {
		tb.Fatal(err)
	}
	return res
}

// reader consumes the records of p by cilium/ebpf, so that this package and consumer are not tested
// with each other.
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

// next returns the next record, within a minute.
func (r *reader) next() []byte {
	r.tb.Helper()
	r.SetDeadline(time.Now().Add(time.Minute))
	rec, err := r.Read()
	if err != nil {
		r.tb.Fatalf("read record: %v", err)
	}
	return rec.RawSample
}

// none fails the test if there is a record.
func (r *reader) none() {
	r.tb.Helper()
	r.SetDeadline(time.Unix(1, 0)) // in the past: read what is there, do not wait
	if rec, err := r.Read(); err == nil {
		r.tb.Fatalf("unexpected record of %d bytes", len(rec.RawSample))
	}
}

// expect consumes exactly the records that job submits.
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

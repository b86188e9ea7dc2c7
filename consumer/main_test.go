package consumer_test

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) {
	if testenv.Role() != "" {
		os.Exit(testenv.Play(act))
	}
	os.Exit(testenv.Main(m))
}

// long returns full, or short with -short.
func long(full, short int) int {
	if testing.Short() {
		return short
	}
	return full
}

// reader returns a Reader of m, closed when the test ends.
func reader(tb testing.TB, m *ebpf.Map, opts consumer.Options) *consumer.Reader {
	tb.Helper()
	r, err := consumer.NewReader(m, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := r.Close(); err != nil {
			tb.Error(err)
		}
	})
	return r
}

// load returns a Producer for m, closed when the test ends.
func load(tb testing.TB, m *ebpf.Map) *producer.Producer {
	tb.Helper()
	p, err := producer.Load(m)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Error(err)
		}
	})
	return p
}

// run produces all records of the job. It skips the test if the kernel does not support job.Op.
func run(tb testing.TB, p *producer.Producer, job producer.Job) producer.Result {
	tb.Helper()
	res, err := p.Run(tb.Context(), job)
	testenv.SkipIfNotSupported(tb, "ringbuf-"+job.Op.String(), err)
	if err != nil {
		tb.Fatal(err)
	}
	if res.Failed != 0 {
		tb.Fatalf("%d of %d records did not fit", res.Failed, job.Count)
	}
	return res
}

// pinger returns a Pinger of the job.
func pinger(tb testing.TB, p *producer.Producer, job producer.Job) *producer.Pinger {
	tb.Helper()
	pg, err := p.Pinger(job)
	testenv.SkipIfNotSupported(tb, "ringbuf-"+job.Op.String(), err)
	if err != nil {
		tb.Fatal(err)
	}
	return pg
}

func ping(tb testing.TB, pg *producer.Pinger) {
	tb.Helper()
	if err := pg.Ping(); err != nil {
		tb.Error(err)
	}
}

// hold reserves a record in the ring of p and leaves it BUSY.
func hold(tb testing.TB, p *producer.Producer, seq uint64) *producer.Held {
	tb.Helper()
	h, err := p.Hold(seq, 16)
	testenv.SkipIfNotSupported(tb, "ringbuf-hold", err)
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// observe returns a mapping of m that is independent of its Reader.
func observe(tb testing.TB, m *ebpf.Map) *ring.Mapping {
	tb.Helper()
	o, err := ring.Observe(m.FD(), uint64(m.MaxEntries()))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		o.Close()
		if err := o.Unmap(); err != nil {
			tb.Error(err)
		}
	})
	return o
}

// setConsumerPos moves the consumer position of m without its Reader.
func setConsumerPos(tb testing.TB, m *ebpf.Map, pos uint64) {
	tb.Helper()
	c, err := ring.Consume(m.FD(), uint64(m.MaxEntries()))
	if err != nil {
		tb.Fatal(err)
	}
	c.SetConsumerPos(ring.Pos(pos))
	c.Close()
	if err := c.Unmap(); err != nil {
		tb.Error(err)
	}
}

// stats returns the Stats of r.
func stats(tb testing.TB, r *consumer.Reader) consumer.Stats {
	tb.Helper()
	s, err := r.Stats()
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// seqs makes one pass, verifies its records and returns their sequence numbers.
func seqs(tb testing.TB, r *consumer.Reader, limit int) []uint64 {
	tb.Helper()
	var got []uint64
	for rec := range r.Pass(limit) {
		got = append(got, seq(tb, rec))
	}
	if err := r.Err(); err != nil {
		tb.Fatal(err)
	}
	return got
}

// seq verifies a record of at least 8 bytes and returns its sequence number.
func seq(tb testing.TB, rec consumer.Record) uint64 {
	tb.Helper()
	if len(rec.Data) < 8 {
		tb.Fatalf("record of %d bytes at position %d", len(rec.Data), rec.Pos)
	}
	n := le64(rec.Data)
	if err := producer.Verify(n, rec.Data); err != nil {
		tb.Fatalf("record at position %d: %v", rec.Pos, err)
	}
	return n
}

func le64(b []byte) uint64 {
	var v uint64
	for i := range 8 {
		v |= uint64(b[i]) << (8 * i)
	}
	return v
}

// from returns n consecutive numbers, beginning with first.
func from(first, n uint64) []uint64 {
	var s []uint64
	for i := range n {
		s = append(s, first+i)
	}
	return s
}

// settle makes a pass that finds nothing, which publishes what Read has consumed.
func settle(tb testing.TB, r *consumer.Reader) {
	tb.Helper()
	if rest := seqs(tb, r, 0); len(rest) > 0 {
		tb.Fatalf("left in the ring: records %d", rest)
	}
}

// ways are all ways to read n records from a Reader. They call use with each record while the
// record is valid, and leave later records in the ring.
var ways = []struct {
	name string
	take func(ctx context.Context, r *consumer.Reader, n int, use func(consumer.Record)) error
}{
	{"Pass", func(ctx context.Context, r *consumer.Reader, n int, use func(consumer.Record)) error {
		for n > 0 {
			if err := r.Wait(ctx); err != nil {
				return err
			}
			for rec := range r.Pass(n) {
				use(rec)
				n--
			}
			if err := r.Err(); err != nil {
				return err
			}
		}
		return nil
	}},
	{"Records", func(ctx context.Context, r *consumer.Reader, n int, use func(consumer.Record)) error {
		ctx, enough := context.WithCancel(ctx)
		defer enough()
		for rec, err := range r.Records(ctx) {
			switch {
			case n == 0: // the loop is at the record after the last, or ctx is done
				return nil
			case err != nil:
				return err
			}
			use(rec)
			if n--; n == 0 {
				enough()
			}
		}
		return errors.New("no error ended Records")
	}},
	{"Read", func(ctx context.Context, r *consumer.Reader, n int, use func(consumer.Record)) error {
		for range n {
			rec, err := r.Read(ctx)
			if err != nil {
				return err
			}
			use(rec)
		}
		return nil
	}},
	{"ReadInto", func(ctx context.Context, r *consumer.Reader, n int, use func(consumer.Record)) error {
		var rec consumer.Record
		for range n {
			if err := r.ReadInto(ctx, &rec); err != nil {
				return err
			}
			use(rec)
		}
		return nil
	}},
}

// group returns a Group of maps, closed when the test ends.
func group(tb testing.TB, opts consumer.Options, maps ...*ebpf.Map) *consumer.Group {
	tb.Helper()
	g, err := consumer.NewGroup(maps, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := g.Close(); err != nil {
			tb.Error(err)
		}
	})
	return g
}

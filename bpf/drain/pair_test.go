package drain

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/testenv"
)

// pattern fills sample seq with its sequence number (truncated if the sample is shorter) and bytes
// derived from that.
var pattern = func() []byte {
	b := make([]byte, 1<<24+256)
	r := rand.New(rand.NewPCG(1, 2))
	for i := 0; i+8 <= len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b
}()

func payload(seq uint64, size int) []byte {
	b := bytes.Clone(pattern[seq%256:][:size])
	if size >= 8 {
		binary.LittleEndian.PutUint64(b, seq)
	}
	return b
}

// pair is a user ring, a ring, and a Drain from one to the other.
type pair struct {
	*feeder
	*Drain
	user, ring *ebpf.Map
	reader     *consumer.Reader
}

func newPair(t *testing.T, userSize, ringSize uint32, opts Options) *pair {
	t.Helper()
	testenv.NoLeaks(t)
	p := &pair{user: userRing(t, userSize), ring: testenv.Ring(t, ringSize)}
	opts.To = p.ring
	p.feeder, p.Drain = newFeeder(t, p.user), newDrain(t, p.user, opts)
	var err error
	if p.reader, err = consumer.NewReader(p.ring, consumer.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.reader.Close() })
	return p
}

// take consumes the records in the ring and returns copies of them.
func (p *pair) take(t *testing.T) (records [][]byte) {
	t.Helper()
	for rec := range p.reader.Pass(0) {
		records = append(records, bytes.Clone(rec.Data))
	}
	if err := p.reader.Err(); err != nil {
		t.Fatal(err)
	}
	return records
}

// run does a run, and fails the test if that returns an error.
func (p *pair) run(t *testing.T) Result {
	t.Helper()
	res, err := p.Run(RunOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func mixed(x uint64) uint64 {
	x = (x + 1) * 0x9e3779b97f4a7c15
	return x ^ x>>29
}

// fillTarget feeds and drains numbered samples of 100 bytes until the target is full. It returns
// the number of samples fed.
func (p *pair) fillTarget(t *testing.T) (fed uint64) {
	t.Helper()
	for {
		p.feed(payload(fed, 100))
		fed++
		if p.run(t).Full {
			return fed
		}
	}
}

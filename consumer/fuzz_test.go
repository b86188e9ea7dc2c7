package consumer

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/rbtool/rbtool/internal/ring"
)

// hostile is the contents of a ring that another process wrote.
type hostile struct {
	data                         []byte // the data pages, repeated to their size
	consumer, producer, overwrit uint64 // positions
	overwrite                    bool   // a ring in overwrite mode
	limit                        int    // of passes
	changing                     bool   // data and positions change during the walk
}

// FuzzPass walks over arbitrary memory. It must not fault, loop forever, hand out memory outside the
// ring, or allocate more than the ring's size.
func FuzzPass(f *testing.F) {
	for _, seed := range seeds() {
		f.Add(seed.data, seed.consumer, seed.producer, seed.overwrit, seed.overwrite, seed.limit, seed.changing)
	}
	size := uint64(os.Getpagesize())
	m := newMemory(f, size)
	f.Fuzz(func(t *testing.T, data []byte, consumer, producer, overwrit uint64, overwrite bool, limit int, changing bool) {
		h := hostile{data, consumer, producer, overwrit, overwrite, limit, changing}
		m.fill(h)
		r := m.reader(t, h.overwrite)
		if h.changing {
			defer m.change(h)()
		}
		walkOver(t, m, r, h.limit)
		if pass(t, m, r, 0); !h.changing && r.Err() == nil && r.peek() {
			t.Errorf("said to be ready, a pass has neither a record nor an error: positions %d, %d, %d", r.pos, h.producer, h.overwrit)
		}
	})
}

// FuzzPassOfAThief is FuzzPass for a Reader with rivals that may move consumer_pos. It mends the ring
// at the end.
func FuzzPassOfAThief(f *testing.F) {
	for _, seed := range seeds() {
		for _, foreigner := range []bool{false, true} {
			f.Add(seed.data, seed.consumer, seed.producer, seed.limit, seed.changing, foreigner)
		}
	}
	size := uint64(os.Getpagesize())
	m := newMemory(f, size)
	f.Fuzz(func(t *testing.T, data []byte, consumer, producer uint64, limit int, changing, foreigner bool) {
		h := hostile{data: data, consumer: consumer, producer: producer, limit: limit, changing: changing}
		m.fill(h)
		r := m.reader(t, false)
		r.rivals = robbed
		if foreigner {
			r.rivals = foreign
		}
		if h.changing {
			defer m.change(h)()
		}
		walkOver(t, m, r, h.limit)
		diagnose(r.mem, false)
		if found, err := mend(r.mem, false); err == nil && !h.changing && found.mended != nil && faultOf(r.mem, found.resumed, ring.Pos(h.producer), false) != nil {
			t.Errorf("mended to position %d, and still corrupt: positions %d, %d", found.resumed, h.consumer, h.producer)
		}
	})
}

// FuzzPassOfASharedReader is FuzzPass for a Reader that follows other consumers.
func FuzzPassOfASharedReader(f *testing.F) {
	for _, seed := range seeds() {
		f.Add(seed.data, seed.consumer, seed.producer, seed.limit, seed.changing)
	}
	size := uint64(os.Getpagesize())
	m := newMemory(f, size)
	f.Fuzz(func(t *testing.T, data []byte, consumer, producer uint64, limit int, changing bool) {
		h := hostile{data: data, consumer: consumer, producer: producer, limit: limit, changing: changing}
		m.fill(h)
		r := m.shared(t)
		if h.changing {
			defer m.change(h)()
		}
		walkOver(t, m, r, h.limit)
	})
}

// seeds are rings that could confuse a walk.
func seeds() []hostile {
	const size = 4096
	rec := func(words ...uint32) (b []byte) {
		for _, w := range words {
			b = binary.NativeEndian.AppendUint32(b, w)
			b = binary.NativeEndian.AppendUint32(b, 0)
		}
		return b
	}
	const busy, discard = ring.BusyBit, ring.DiscardBit
	var s []hostile
	add := func(data []byte, positions ...[3]uint64) {
		for _, p := range positions {
			for _, overwrite := range []bool{false, true} {
				for _, changing := range []bool{false, true} {
					for _, limit := range []int{0, 1} {
						s = append(s, hostile{data, p[0], p[1], p[2], overwrite, limit, changing})
					}
				}
			}
		}
	}
	all := [3]uint64{0, size - 8, 0}
	add(rec(0), all)                                           // empty records
	add(rec(8, 0), all, [3]uint64{8, size, 0})                 // a walk that begins in a payload
	add(rec(discard), all)                                     // discarded ones only
	add(rec(busy), all)                                        // a BUSY head
	add(rec(math.MaxUint32), all)                              // both flags and the longest length
	add(rec(busy-1), all, [3]uint64{size - 8, 2*size - 16, 0}) // DISCARD and the longest length
	add(rec(discard-1), all)                                   // the longest length
	add(rec(size-8, discard|size, 3*size), all)                // about the ring's size
	add(rec(16, 0, 0, 1<<20), all)                             // a good record, then a bad one
	add(rec(0, discard|24, 0, 0, 0, 8, 0),                     // good records, and bad positions:
		[3]uint64{size, 0, 0},                      // consumer ahead
		[3]uint64{0, size + 8, 0},                  // more than the ring
		[3]uint64{4, size, 0}, [3]uint64{0, 12, 0}, // not at a boundary of 8
		[3]uint64{math.MaxUint64 - 7, 64, 0}, // around 2^64
		[3]uint64{math.MaxUint64 - size + 1, 0, math.MaxUint64 - 63},
		[3]uint64{1 << 63, 1<<63 + 512, 0},                                       // at the sign
		[3]uint64{0, 10 * size, 9*size + 8}, [3]uint64{0, 10 * size, 9*size + 9}, // overwritten
		[3]uint64{0, 64, 128}, [3]uint64{0, size, math.MaxUint64})
	return s
}

// fill writes h to m.
func (m memory) fill(h hostile) {
	data := m.Data()
	clear(data)
	for n := 0; n < len(data) && len(h.data) > 0; {
		n += copy(data[n:], h.data)
	}
	*m.ConsumerPos(), *m.ProducerPos(), *m.OverwritePos() = h.consumer, h.producer, h.overwrit
}

// change writes to m until stop is called.
func (m memory) change(h hostile) (stop func()) {
	var ended atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		words := uint64(len(m.Data()) / 8)
		for n := uint64(0); !ended.Load(); n++ {
			// Multiples of a large odd number visit all words in a scattered order.
			i := n * 0x9e3779b97f4a7c15 >> 32 % words
			atomic.StoreUint64(m.Word(8*i), n<<3^h.producer)
			if n%16 == 0 {
				atomic.AddUint64(m.ProducerPos(), n%64)
				atomic.AddUint64(m.OverwritePos(), n%32)
				atomic.AddUint64(m.ConsumerPos(), n%48)
			}
		}
	}()
	return func() {
		ended.Store(true)
		<-done
	}
}

// walkOver makes all calls that do not wait.
func walkOver(t *testing.T, m memory, r *Reader, limit int) {
	// Each pass ends at its limit, at the positions it began with, or with an error. Later
	// passes find what the first left.
	var rec Record
	for range 4 {
		pass(t, m, r, limit)
		if limit > 0 {
			pass(t, m, r, 0)
		}
		if r.take(&rec) {
			use(rec.Data)
		}
		r.peek()
		if _, err := r.Stats(); err != nil {
			t.Fatal(err)
		}
	}
}

// pass walks over the ring once.
func pass(t *testing.T, m memory, r *Reader, limit int) {
	n := uint64(0)
	for rec := range r.Pass(limit) {
		if n++; n > m.Size/ring.HeaderSize {
			t.Fatalf("more records than there are headers in the ring")
		}
		if !within(rec.Data, r.copy.buf) && !within(rec.Data, ringMemory(r)) {
			t.Fatalf("%d bytes at %p lie outside of the ring and its copy", len(rec.Data), rec.Data)
		}
		use(rec.Data)
	}
	if err := r.Err(); err != nil && !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	if limit > 0 && n > uint64(limit) {
		t.Fatalf("%d records with a limit of %d", n, limit)
	}
	if uint64(len(r.copy.buf)) > m.Size {
		t.Fatalf("allocated %d bytes to copy from a ring of %d", len(r.copy.buf), m.Size)
	}
}

// ringMemory returns the memory of r's records if they are not copied.
func ringMemory(r *Reader) []byte {
	return r.mem.Data().Payload(0, uint32(2*r.mem.Size()-ring.HeaderSize))
}

// within reports whether b lies in memory.
func within(b, memory []byte) bool {
	at, from := uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(unsafe.Pointer(unsafe.SliceData(memory)))
	return at >= from && at+uintptr(len(b)) <= from+uintptr(len(memory))
}

// use reads all of b.
func use(b []byte) {
	sum := byte(0)
	for _, c := range b {
		sum += c
	}
	runtime.KeepAlive(sum)
}

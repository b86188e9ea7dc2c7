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
	"github.com/rbtool/rbtool/internal/testenv"
)

// hostile is the content of a ring that a hostile process wrote.
type hostile struct {
	data                         []byte // written repeatedly until the data pages are full
	consumer, producer, overwrit uint64
	overwrite                    bool // a ring in overwrite mode
	limit                        int  // of passes
	changing                     bool // another goroutine changes data and positions during the walk
}

// FuzzPass walks over arbitrary memory. The walk must not fault, loop forever, hand out memory
// outside the ring, or allocate more than the size of the ring.
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

// FuzzPassOfAThief is FuzzPass for a Reader with rivals that may move consumer_pos. At the end it
// mends the ring.
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

// seeds are contents of rings that could confuse a walk.
func seeds() []hostile {
	size := uint64(testenv.PageSize)
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
	add(rec(0), all)                                                    // empty records
	add(rec(8, 0), all, [3]uint64{8, size, 0})                          // a walk that begins in a payload
	add(rec(discard), all)                                              // only discarded records
	add(rec(busy), all)                                                 // a BUSY head
	add(rec(math.MaxUint32), all)                                       // both flags and the longest length
	add(rec(busy-1), all, [3]uint64{size - 8, 2*size - 16, 0})          // DISCARD and the longest length
	add(rec(discard-1), all)                                            // the longest length
	add(rec(uint32(size)-8, discard|uint32(size), 3*uint32(size)), all) // about the ring's size
	add(rec(16, 0, 0, 1<<20), all)                                      // a valid record, then an invalid header
	add(rec(0, discard|24, 0, 0, 0, 8, 0),                              // valid records, and invalid positions:
		[3]uint64{size, 0, 0},                      // consumer_pos ahead of producer_pos
		[3]uint64{0, size + 8, 0},                  // more unread than the size of the ring
		[3]uint64{4, size, 0}, [3]uint64{0, 12, 0}, // not multiples of 8
		[3]uint64{math.MaxUint64 - 7, 64, 0}, // consumer_pos before, producer_pos after the wrap-around at 2^64
		[3]uint64{math.MaxUint64 - size + 1, 0, math.MaxUint64 - 63},
		[3]uint64{1 << 63, 1<<63 + 512, 0},                                       // positions at the sign bit
		[3]uint64{0, 10 * size, 9*size + 8}, [3]uint64{0, 10 * size, 9*size + 9}, // overwrite_pos ahead of consumer_pos
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

// walkOver makes several passes over r and calls its other methods that do not wait.
func walkOver(t *testing.T, m memory, r *Reader, limit int) {
	// Each pass ends at its limit, at the producer position loaded when it began, or with an error.
	// A later pass begins where the previous pass ended.
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

// pass makes one pass and checks its records.
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

// ringMemory returns the memory in which the records of r lie if they are not copied.
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

package consumer

import (
	"errors"
	"testing"
	"unsafe"

	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

// observer returns an Observer of m, closed when the test ends.
func (m memory) observer(tb testing.TB, kind ring.Kind, overwrite bool, opts ObserverOptions) *Observer {
	tb.Helper()
	mem, err := ring.Observe(m.FD, m.Size)
	if err != nil {
		tb.Fatal(err)
	}
	o := newObserver(mem, kind, overwrite, opts)
	tb.Cleanup(func() { o.Close() })
	return o
}

// FuzzObserver observes arbitrary memory, also while it changes. The Observer must not fault, loop
// forever, hand out memory outside its copy, allocate more than the size of the ring, or miscount.
func FuzzObserver(f *testing.F) {
	for _, seed := range seeds() {
		f.Add(seed.data, seed.consumer, seed.producer, seed.overwrit, seed.overwrite, !seed.overwrite, seed.limit, seed.changing)
	}
	m := newMemory(f, uint64(testenv.PageSize))
	f.Fuzz(func(t *testing.T, data []byte, consumer, producer, overwrit uint64, overwrite, user bool, limit int, changing bool) {
		h := hostile{data, consumer, producer, overwrit, overwrite && !user, limit, changing}
		m.fill(h)
		kind := ring.Kernel
		if user {
			kind = ring.User
		}
		o := m.observer(t, kind, h.overwrite, ObserverOptions{Ahead: overwrit % (2 * m.Size)})
		if h.changing {
			defer m.change(h)()
		}
		for range 4 {
			observeOnce(t, m, o, limit)
			o.poll()
		}
		// Another process may change both positions at any time.
		*m.ConsumerPos(), *m.ProducerPos() = producer, consumer
		observeOnce(t, m, o, limit)
	})
}

func observeOnce(t *testing.T, m memory, o *Observer, limit int) {
	t.Helper()
	n := 0
	for rec := range o.Pass(limit) {
		if n++; limit > 0 && n > limit || uint64(n) > m.Size/ring.HeaderSize {
			t.Fatalf("%d records, limit %d", n, limit)
		}
		lo := uintptr(unsafe.Pointer(unsafe.SliceData(o.buf.buf)))
		if at := uintptr(unsafe.Pointer(unsafe.SliceData(rec.Data))); at < lo || at+uintptr(len(rec.Data)) > lo+uintptr(len(o.buf.buf)) {
			t.Fatalf("%d bytes at %#x lie outside of the copy at %#x", len(rec.Data), at, lo)
		}
		use(rec.Data)
	}
	if err := o.Err(); err != nil && !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	if uint64(len(o.buf.buf)) > m.Size {
		t.Fatalf("allocated %d bytes to copy from a ring of %d", len(o.buf.buf), m.Size)
	}
	s, err := o.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if s.Seen+s.Skipped+s.Lost != s.Pos-s.Start || s.Pos != uint64(o.pos) {
		t.Fatalf("lost count: %+v at position %d", s, o.pos)
	}
}

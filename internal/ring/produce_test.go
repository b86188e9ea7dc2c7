package ring

import (
	"bytes"
	"os"
	"testing"
	"unsafe"

	"github.com/rbtool/rbtool/internal/testenv"
)

func TestTagged(t *testing.T) {
	tagged := Tag(24|BusyBit, 1<<31|5)
	if tagged.Header() != 24|BusyBit || tagged.Tag() != 1<<31|5 {
		t.Errorf("header %#x, tag %#x", tagged.Header(), tagged.Tag())
	}
	size := uint64(os.Getpagesize())
	m, err := Produce(testenv.NewMemory(t, size).FD, size)
	if err != nil {
		t.Fatal(err)
	}
	defer closeNow(t, m)
	d := m.Data()
	d.SetTagged(16, tagged)
	if d.Tagged(16) != tagged || d.Header(16) != 24|BusyBit {
		t.Errorf("stored %#x, loaded %#x; the kernel sees %#x", tagged, d.Tagged(16), d.Header(16))
	}
	if d.MoveTagged(16, tagged+1, 0) || d.Tagged(16) != tagged {
		t.Error("a header that was another was changed")
	}
	if !d.MoveTagged(16, tagged, 24) || d.Tagged(16) != 24 {
		t.Error("a header was not changed")
	}
}

func TestProducerPosition(t *testing.T) {
	size := uint64(os.Getpagesize())
	m, err := Produce(testenv.NewMemory(t, size).FD, size)
	if err != nil {
		t.Fatal(err)
	}
	defer closeNow(t, m)
	if m.SetProducerPos(64); m.ProducerPos() != 64 {
		t.Errorf("position %d: want 64", m.ProducerPos())
	}
	if m.MoveProducerPos(0, 128) || m.ProducerPos() != 64 {
		t.Error("a position that was another was moved")
	}
	if !m.MoveProducerPos(64, 128) || m.ProducerPos() != 128 {
		t.Error("a position was not moved")
	}
	// The claim is on another cache line than producer_pos.
	m.ProducerClaim().Store(7)
	if m.ProducerPos() != 128 || m.ConsumerPos() != 0 || uintptr(unsafe.Pointer(m.ProducerClaim()))%4096 < 64 {
		t.Error("the claim overlaps a position, or is on the cache line of one")
	}
}

func TestFill(t *testing.T) {
	size := uint64(os.Getpagesize())
	mem := testenv.NewMemory(t, size)
	m, err := Produce(mem.FD, size)
	if err != nil {
		t.Fatal(err)
	}
	defer closeNow(t, m)
	type pair struct {
		a uint32
		b uint8
	}
	pairs := []pair{{1, 2}, {3, 4}}
	Fill(m.Data().Window(24), pairs)
	for i, p := range pairs {
		pos := Pos(24 + 16*i)
		want := unsafe.Slice((*byte)(unsafe.Pointer(&p)), 8)
		if m.Data().Tagged(pos) != 8 || !bytes.Equal(m.Data().Payload(pos, 8), want) {
			t.Errorf("sample at %d: header %#x, %x; want %x", pos, m.Data().Tagged(pos), m.Data().Payload(pos, 8), want)
		}
	}
	if m.Data().Tagged(16) != 0 || m.Data().Tagged(56) != 0 {
		t.Error("written beyond the values")
	}
	Fill(m.Data().Window(64), make([]struct{}, 2))
	Fill(m.Data().Window(96), []pair(nil))
}

// After Retire, accesses through the Mapping work as before, but do not change the ring.
func TestRetire(t *testing.T) {
	testenv.NoLeaks(t)
	size := uint64(os.Getpagesize())
	mem := testenv.NewMemory(t, size)
	before := mapped(t)
	func() {
		m, err := Produce(mem.FD, size)
		if err != nil {
			t.Fatal(err)
		}
		m.SetProducerPos(64)
		m.Data().SetTagged(8, 24)
		if err := m.Retire(); err != nil {
			t.Fatal(err)
		}
		if now := mapped(t); now > before {
			t.Errorf("%d regions of the ring are still mapped", now-before)
		}
		if m.ProducerPos() != 0 || m.ConsumerPos() != 0 || m.Data().Tagged(8) != 0 {
			t.Error("contents of the ring are still visible")
		}
		m.SetProducerPos(128)
		m.ProducerClaim().Store(1)
		clear(m.Data().Payload(8, uint32(size-8)))
	}()
	seen, err := Observe(mem.FD, size)
	if err != nil {
		t.Fatal(err)
	}
	defer closeNow(t, seen)
	if seen.ProducerPos() != 64 || seen.ProducerClaim().Load() != 0 || seen.Data().Tagged(8) != 24 {
		t.Error("a store after Retire changed the ring")
	}
}

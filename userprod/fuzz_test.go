package userprod

import (
	"encoding/binary"
	"math"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/userring"
)

// image is a file with the layout of a ring. In it tests can also write consumer_pos.
type image struct {
	fd  int
	all []byte
}

// imageSize is the size of its ring, in bytes.
var imageSize = uint64(ringSize)

func newImage(tb testing.TB) *image {
	tb.Helper()
	fd, err := unix.MemfdCreate("ring", unix.MFD_CLOEXEC)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { unix.Close(fd) })
	length := 2*os.Getpagesize() + 2*ringSize
	if err := unix.Ftruncate(fd, int64(length)); err != nil {
		tb.Fatal(err)
	}
	all, err := unix.Mmap(fd, 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { unix.Munmap(all) })
	return &image{fd, all}
}

// mapping maps the image as a producer maps a ring.
func (im *image) mapping(tb testing.TB) *ring.Mapping {
	tb.Helper()
	mem, err := ring.Produce(im.fd, imageSize)
	if err != nil {
		tb.Fatal(err)
	}
	return mem
}

func (im *image) word(offset int) *uint64 { return (*uint64)(unsafe.Pointer(&im.all[offset])) }
func (im *image) consumer() *uint64       { return im.word(0) }
func (im *image) producer() *uint64       { return im.word(os.Getpagesize()) }
func (im *image) data() []byte            { return im.all[2*os.Getpagesize():] }

// fill sets the positions and fills the data with repetitions of data.
func (im *image) fill(data []byte, consumer, producer uint64) {
	clear(im.all)
	for n := 0; n < len(im.data()) && len(data) > 0; {
		n += copy(im.data()[n:], data)
	}
	*im.consumer(), *im.producer() = consumer, producer
}

// change writes into the image like a hostile process, until stop is called.
func (im *image) change() (stop func()) {
	var ended atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := uint64(0); !ended.Load(); n++ {
			// Multiples of an odd number visit all words in a scattered order.
			i := int(n * 0x9e3779b97f4a7c15 >> 32 % (imageSize / 8))
			atomic.StoreUint64(im.word(2*os.Getpagesize()+8*i), n<<3)
			if n%16 == 0 {
				atomic.AddUint64(im.producer(), n%64)
			}
		}
	}()
	return func() {
		ended.Store(true)
		<-done
	}
}

// samples walks over the image independently of the code under test. It returns the positions of
// the samples before the first invalid one, and whether all are valid.
func (im *image) samples() (at []uint64, fine bool) {
	cons, prod := *im.consumer(), *im.producer()
	if prod%8 != 0 || prod < cons || prod-cons > imageSize {
		return nil, false
	}
	for cons < prod {
		n := uint64(binary.NativeEndian.Uint32(im.data()[cons%imageSize:])) & (1<<30 - 1)
		if (n+15)&^7 > prod-cons {
			return at, false
		}
		at = append(at, cons)
		cons += (n + 15) &^ 7
	}
	return at, true
}

func (im *image) header(pos uint64) uint32 {
	return binary.NativeEndian.Uint32(im.data()[pos%imageSize:])
}

// FuzzRestore restores arbitrary rings. Restore must not fault or loop forever, and must not change
// committed samples. If no other process writes to the ring, a mended ring is consistent.
func FuzzRestore(f *testing.F) {
	words := func(w ...uint64) (b []byte) {
		for _, w := range w {
			b = binary.NativeEndian.AppendUint64(b, w)
		}
		return b
	}
	const busy, discard = ring.BusyBit, ring.DiscardBit
	size := imageSize
	for _, changing := range []bool{false, true} {
		for _, s := range []struct {
			data               []byte
			consumer, producer uint64
		}{
			{words(0), 0, size},               // empty samples
			{words(busy), 0, size},            // BUSY
			{words(busy | discard), 8, size},  // BUSY and discarded
			{words(math.MaxUint64), 0, size},  // all bits
			{words(discard|size, 8), 0, size}, // too long
			{words(8, 1, busy|8, 2, 8, 3, 100), 0, 64},
			{words(8, 1, busy|8, 2, 24), 0, 40}, // the last sample ends after the producer position
			{words(8), 0, 12}, {words(8), 4, 8}, {words(8), 0, 1}, {words(8), 7, 9},
			{words(8), 64, 0}, {words(8), 0, size + 8}, {words(8), 0, 1 << 40},
			{words(busy | 8), 1 << 63, 1<<63 + 512}, {words(busy | 8), 1<<63 - 512, 1 << 63},
			{words(busy | 8), math.MaxUint64 - size + 1, math.MaxUint64 - 7},
			{words(busy | 8), math.MaxUint64 - 63, 64}, // producer_pos has wrapped around at 2^64, which no real ring reaches
			{words(size), 0, math.MaxUint64},
		} {
			f.Add(s.data, s.consumer, s.producer, changing, uint16(100))
		}
	}
	im := newImage(f)
	f.Fuzz(func(t *testing.T, data []byte, consumer, producer uint64, changing bool, write uint16) {
		consumer &^= 7 // the kernel moves consumer_pos by multiples of 8
		im.fill(data, consumer, producer)
		if changing {
			fuzzChanging(t, im, int(write))
		} else {
			fuzzStill(t, im, int(write))
		}
	})
}

// fuzzChanging restores a ring while another goroutine writes to it.
func fuzzChanging(t *testing.T, im *image, write int) {
	defer im.change()()
	mem := im.mapping(t)
	defer mem.Unmap()
	userring.Restore(mem, false)
	userring.Examine(mem)
	userring.Restore(mem, true)
	produceInto(mem, write)
}

// fuzzStill restores a ring to which no other goroutine writes.
func fuzzStill(t *testing.T, im *image, write int) {
	before := slices.Clone(im.all)
	at, fine := im.samples()
	mem := im.mapping(t)
	defer mem.Unmap()
	_, err := userring.Restore(mem, false)
	userring.Examine(mem)
	if (err == nil) != fine {
		t.Fatalf("restore: %v", err)
	}
	im.checkRestored(t, before, at)
	found, err := userring.Restore(mem, true)
	if err != nil {
		t.Fatalf("mend: %v", err)
	}
	im.checkRestored(t, before, at)
	if (found.Mended == nil) != fine {
		t.Fatalf("mended: %v", found.Mended)
	}
	if again, ok := im.samples(); !ok || len(again) < len(at) {
		t.Fatalf("a mended ring is inconsistent: %d samples, then %d", len(at), len(again))
	}
	produceInto(mem, write)
	im.checkRestored(t, before, at)
}

// checkRestored checks the samples at the given positions: busy samples are discarded, all others
// are as before.
func (im *image) checkRestored(t *testing.T, before []byte, positions []uint64) {
	t.Helper()
	const busy, discard = ring.BusyBit, ring.DiscardBit
	for _, pos := range positions {
		i := 2*os.Getpagesize() + int(pos%imageSize)
		old, now := binary.NativeEndian.Uint32(before[i:]), im.header(pos)
		switch {
		case old&busy == 0 || old&discard != 0:
			if now != old {
				t.Fatalf("header at %d was %#x, is %#x", pos, old, now)
			}
		case now != old&^busy|discard:
			t.Fatalf("BUSY header at %d was %#x, is %#x", pos, old, now)
		}
		n := int(old &^ (busy | discard))
		n = min(n, int(imageSize-pos%imageSize)-8) // the data of an image is not mapped twice
		if !slices.Equal(before[i+8:i+8+n], im.all[i+8:i+8+n]) {
			t.Fatalf("payload at %d was changed", pos)
		}
	}
}

// produceInto calls all methods that do not sleep.
func produceInto(mem *ring.Mapping, n int) {
	p, err := newProducer(mem, Options{Mend: true})
	if err != nil {
		return
	}
	for range 3 {
		p.TryWrite(make([]byte, n%5000))
		s, err := p.TryReserve(n % 300)
		if err == nil {
			clear(s.Bytes())
			s.Commit()
			s.Discard()
		}
		b := begin(p)
		if buf, err := b.TryNext(n % 100); err == nil {
			clear(buf)
		}
		appendAll(b, make([]uint32, n%16))
		b.End()
		p.stuck()
		p.Stats()
	}
}

// The Producer works at positions near 2^32, 2^35, 2^63 and 2^64.
func TestHighPositions(t *testing.T) {
	im := newImage(t)
	for _, pos := range []uint64{1<<32 - imageSize/2, 1<<35 - imageSize/2, 1<<63 - imageSize/2, math.MaxUint64 - 7 - imageSize} {
		im.fill(nil, pos, pos)
		mem := im.mapping(t)
		p, err := newProducer(mem, Options{})
		if err != nil {
			t.Fatal(err)
		}
		quarter := ringSize/4 - ring.HeaderSize
		old, err := p.TryReserve(quarter - 16)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if err := p.TryWrite(make([]byte, quarter)); err != nil {
				t.Fatalf("from %d: %v", pos, err)
			}
		}
		if err := p.TryWrite(make([]byte, quarter)); err != ErrFull {
			t.Errorf("from %d: a full ring: %v", pos, err)
		}
		if err := old.Commit(); err != nil {
			t.Errorf("from %d: %v", pos, err)
		}
		if err := old.Commit(); err != ErrDone {
			t.Errorf("from %d: second Commit: %v", pos, err)
		}
		if d := userring.Examine(mem); d.Committed != 4 || d.Fault != nil || d.ProducerPos != pos+imageSize-16 {
			t.Errorf("from %d: %+v", pos, d)
		}
		mem.Unmap()
	}
}

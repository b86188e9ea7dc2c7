package container

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/bpftest/arenaset"
	"github.com/rbtool/rbtool/internal/bpftest/arenatest"
	"github.com/rbtool/rbtool/internal/testenv"
)

// formatHelper is a helper process that formats the arena and allocates a block.
func formatHelper(a *arena.Arena, _ *bufio.Reader) error {
	h, err := Format(a)
	if err != nil {
		return err
	}
	fmt.Println("formatted")
	if _, err := h.Alloc(100); err != nil {
		return err
	}
	return nil
}

func TestFormatByMany(t *testing.T) {
	testenv.NoLeaks(t)
	a := arenatest.New(t, arena.Options{})
	if _, err := OpenHeap(a); !errors.Is(err, ErrFormat) {
		t.Errorf("heap of a new arena: %v", err)
	}
	var all []*arenatest.Process
	for range 4 {
		all = append(all, arenatest.Start(t, "format", a))
	}
	for _, p := range all {
		p.Line()
		p.Finish()
	}
	h, err := OpenHeap(a)
	if err != nil {
		t.Fatal(err)
	}
	st, err := h.h.Stats()
	if err != nil || len(st.Classes) != 1 || st.Classes[0].Used != 4 {
		t.Errorf("%+v, %v", st, err)
	}
}

// Format refuses an arena whose page 0 holds other data, at any offset.
func TestFormatTakesNoMemoryOfOthers(t *testing.T) {
	testenv.NoLeaks(t)
	for _, off := range []uint64{8, 48, 64, arenamem.PageSize - 8} {
		a := arenatest.New(t, arena.Options{})
		word, err := arena.Ptr[uint64](a.Base() + off).In(a)
		if err != nil {
			t.Fatal(err)
		}
		*word = 7
		if _, err := Format(a); !errors.Is(err, ErrFormat) || *word != 7 {
			t.Errorf("word at %d: %v, %d is left of 7", off, err, *word)
		}
	}
}

// otherImage returns the first bytes of an arena as a kernel with another page size formats it, and that
// page size.
func otherImage(h *Heap) ([]byte, uint64) {
	other := uint64(4 << 10)
	if arenamem.PageSize == other {
		other = 16 << 10
	}
	head := max(other, 8<<10) // the classes end before 8 KiB
	s := *h.h.Super
	s.PageSize, s.HeapStart, s.Brk, s.Present = uint32(other), head, head+arenamem.GrowAhead, head+arenamem.GrowAhead
	image := make([]byte, s.Present)
	copy(image, unsafe.Slice((*byte)(unsafe.Pointer(&s)), unsafe.Sizeof(s)))
	binary.NativeEndian.PutUint64(image[4096+16*64+8:], 1) // a block of 4 KiB is in use
	return image, other
}

// The image of an arena from a kernel with another page size is refused and left as it is, by processes
// and by programs.
func TestHeapOfAnotherPageSize(t *testing.T) {
	testenv.NoLeaks(t)
	h := newHeap(t, arena.Options{Size: 1 << 20})
	p := loadSet(t, h, arenaset.HeapStorm)
	if job := p.must(arenaset.HeapStorm, arenaset.Job{Count: 10, Seed: 1}); job.Failed != 0 {
		t.Fatalf("%+v", job)
	}
	image, other := otherImage(h)
	mem, err := h.a.Bytes(arena.Ptr[byte](h.a.Base()), uint64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	copy(mem, image)
	says := fmt.Sprintf("heap was made for pages of %d bytes, this kernel has pages of %d", other, arenamem.PageSize)
	for what, open := range map[string]func(*arena.Arena) (*Heap, error){"open": OpenHeap, "format": Format} {
		if _, err := open(h.a); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: error %v, want one that says %q", what, err, says)
		}
	}
	if !bytes.Equal(mem, image) {
		t.Error("the image was changed")
	}
	at := arena.Ptr[arenaset.Job](h.a.Base() + h.a.Size() - arenamem.PageSize)
	job, err := at.In(h.a)
	if err != nil {
		t.Fatal(err)
	}
	job.Count = 10
	arenatest.Run(t, p.c.Programs[arenaset.HeapStorm], ebpf.RunOptions{Context: arenaset.Context{Job: uint64(at)}})
	if job.Done != 10 || job.Full != 10 || !bytes.Equal(mem, image) {
		t.Errorf("a program grows the heap: %+v", *job)
	}
}

func TestHeapRefused(t *testing.T) {
	testenv.NoLeaks(t)
	tests := []struct {
		rule   string
		damage func(s *arenamem.Super)
	}{
		{"another magic number", func(s *arenamem.Super) { s.Magic++ }},
		{"another version", func(s *arenamem.Super) { s.Version++ }},
		{"another page size", func(s *arenamem.Super) { s.PageSize *= 2 }},
		{"another base", func(s *arenamem.Super) { s.Base += arenamem.Window }},
		{"another size", func(s *arenamem.Super) { s.Size += arenamem.PageSize }},
		{"a limit beyond the end", func(s *arenamem.Super) { s.HeapLimit += arenamem.PageSize }},
		{"a limit before the start", func(s *arenamem.Super) { s.HeapLimit = 0 }},
		{"a start in page 0", func(s *arenamem.Super) { s.HeapStart = 0 }},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			h := newHeap(t, arena.Options{Size: 1 << 20})
			tt.damage(h.h.Super)
			if _, err := OpenHeap(h.a); !errors.Is(err, ErrFormat) {
				t.Errorf("error %v", err)
			}
			if _, err := Format(h.a); !errors.Is(err, ErrFormat) {
				t.Errorf("format: %v", err)
			}
		})
	}
	t.Run("a size that changes later", func(t *testing.T) {
		h := newHeap(t, arena.Options{Size: 1 << 20})
		h.h.Super.Brk, h.h.Super.Present = 1<<40, 1<<41
		if _, err := h.Alloc(100); !errors.Is(err, ErrCorrupt) {
			t.Errorf("error %v", err)
		}
	})
}

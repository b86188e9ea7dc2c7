package container

import (
	"bufio"
	"errors"
	"fmt"
	"testing"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/arenamem"
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

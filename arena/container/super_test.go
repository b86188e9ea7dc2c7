//go:build ignore

package container

import (
	"bufio"
	"errors"
	"fmt"
	"testing"

	"github.com/rbtool/rbtool/internal/testenv"
)

func init() {
	helpers["format"] = func(a *Arena, _ *bufio.Reader) error {
		h, err := a.Format()
		if err != nil {
			return err
		}
		fmt.Println("formatted")
		if _, err := h.Alloc(100); err != nil {
			return err
		}
		return nil
	}
}

func TestFormatByMany(t *testing.T) {
	testenv.NoLeaks(t)
	a := newArena(t, Options{})
	if _, err := a.Heap(); !errors.Is(err, ErrFormat) {
		t.Errorf("heap of a new arena: %v", err)
	}
	var all []*process
	for range 4 {
		all = append(all, startHelper(t, "format", a))
	}
	for _, p := range all {
		p.line()
		p.finish()
	}
	h, err := a.Heap()
	if err != nil {
		t.Fatal(err)
	}
	st, err := h.Stats()
	if err != nil || len(st.Classes) != 1 || st.Classes[0].Used != 4 {
		t.Errorf("%+v, %v", st, err)
	}
}

// What programs have in page 0 of an arena without a heap is theirs, wherever in it.
func TestFormatTakesNoMemoryOfOthers(t *testing.T) {
	testenv.NoLeaks(t)
	for _, off := range []uint64{8, 48, 64, pageSize - 8} {
		a := newArena(t, Options{})
		word, err := Ptr[uint64](a.Base() + off).In(a)
		if err != nil {
			t.Fatal(err)
		}
		*word = 7
		if _, err := a.Format(); !errors.Is(err, ErrFormat) || *word != 7 {
			t.Errorf("word at %d: %v, %d is left of 7", off, err, *word)
		}
	}
}

func TestHeapRefused(t *testing.T) {
	testenv.NoLeaks(t)
	tests := []struct {
		rule   string
		damage func(s *super)
	}{
		{"another magic number", func(s *super) { s.magic++ }},
		{"another version", func(s *super) { s.version++ }},
		{"another page size", func(s *super) { s.pageSize *= 2 }},
		{"another base", func(s *super) { s.base += window }},
		{"another size", func(s *super) { s.size += pageSize }},
		{"a limit beyond the end", func(s *super) { s.heapLimit += pageSize }},
		{"a limit before the start", func(s *super) { s.heapLimit = 0 }},
		{"a start in page 0", func(s *super) { s.heapStart = 0 }},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			h := newHeap(t, Options{Size: 1 << 20})
			tt.damage(h.s)
			if _, err := h.a.Heap(); !errors.Is(err, ErrFormat) {
				t.Errorf("error %v", err)
			}
			if _, err := h.a.Format(); !errors.Is(err, ErrFormat) {
				t.Errorf("format: %v", err)
			}
		})
	}
	t.Run("a size that changes later", func(t *testing.T) {
		h := newHeap(t, Options{Size: 1 << 20})
		h.s.brk, h.s.present = 1<<40, 1<<41
		if _, err := h.Alloc(100); !errors.Is(err, ErrCorrupt) {
			t.Errorf("error %v", err)
		}
	})
}

//go:build ignore

package loader_test

import (
	"bufio"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/bpftest/arenatest"
	"github.com/rbtool/rbtool/internal/testenv"
)

func loadGlobals(a *Arena) (*Collection, error) {
	spec, err := LoadCollectionSpecFromReader(arenatest.Globals())
	if err != nil {
		return nil, err
	}
	return LoadCollection(spec, LoadOptions{Arenas: map[string]*Arena{"arena": a}, NoVariables: true})
}

func init() {
	// Loads a collection with variables and prints where they lie; then runs it when a line comes.
	helpers["globals"] = func(a *Arena, in *bufio.Reader) error {
		c, err := loadGlobals(a)
		if err != nil {
			return err
		}
		defer c.Close()
		fmt.Println(uint64(c.Globals["number"]))
		if _, err := in.ReadByte(); err != nil {
			return err
		}
		if _, err := c.Programs["globals"].Run(&ebpf.RunOptions{}); err != nil {
			return err
		}
		number, err := Ptr[uint64](c.Globals["number"]).Load(a)
		fmt.Println(number)
		return err
	}
}

// useUp allocates all that the heap has, and writes to it.
func useUp(tb testing.TB, h *Heap) {
	tb.Helper()
	for {
		p, err := h.Alloc(1000)
		if errors.Is(err, ErrFull) {
			return
		}
		if err == nil {
			err = Ptr[[1000]byte](p).Store(h.a, [1000]byte{1})
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}

// Variables of collections of several processes lie on pages of their own, and a heap that is made
// later leaves them alone.
func TestVariablesOfProcessesAreApart(t *testing.T) {
	for _, rule := range []string{"without a heap", "segv on fault", "in a heap"} {
		t.Run(rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			a := newArena(t, Options{SegvOnFault: rule == "segv on fault"})
			if rule == "in a heap" {
				if _, err := a.Format(); err != nil {
					t.Fatal(err)
				}
			}
			pages := map[uint64]bool{}
			page := func(addr uint64) {
				if pages[addr/pageSize] {
					t.Errorf("two of them lie on the page at %#x", addr&^(pageSize-1))
				}
				pages[addr/pageSize] = true
			}
			var all []*process
			for range 3 {
				p := startHelper(t, "globals", a)
				addr, err := strconv.ParseUint(p.line(), 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				page(addr)
				all = append(all, p)
			}
			c, err := loadGlobals(a)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			page(uint64(c.Globals["number"]))
			if fresh, err := a.Fresh(); fresh != (rule != "in a heap") || err != nil {
				t.Errorf("fresh %t, %v", fresh, err)
			}
			h, err := a.Format()
			if err != nil {
				t.Fatal(err)
			}
			for p := range pages {
				if end := a.base + h.limit; rule != "in a heap" && p*pageSize < end {
					t.Errorf("the heap ends at %#x, a variable lies at %#x", end, p*pageSize)
				}
			}
			useUp(t, h)
			for _, p := range all {
				fmt.Fprintln(p.in)
				if got := p.line(); got != "44" { // 42 and numbers[1]
					t.Errorf("a variable is %s", got)
				}
				p.finish()
			}
		})
	}
}

// Many reserve while one formats: nothing overlaps.
func TestReserveWhileFormatting(t *testing.T) {
	testenv.NoLeaks(t)
	for range 20 {
		a := newArena(t, Options{Size: 256 * pageSize})
		var mu sync.Mutex
		var offs []uint64
		var wg sync.WaitGroup
		var h *Heap
		for i := range 6 {
			wg.Go(func() {
				if i == 3 {
					var err error
					if h, err = a.Format(); err != nil {
						t.Error(err)
					}
					return
				}
				off, err := a.reserve(2 * pageSize)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				offs = append(offs, off)
				mu.Unlock()
			})
		}
		wg.Wait()
		slices.Sort(offs)
		for i, off := range offs {
			if i > 0 && off-offs[i-1] < 2*pageSize {
				t.Errorf("reserved at %#x", offs)
			}
			if off < h.limit && off+2*pageSize > h.s.brk { // neither behind the heap nor allocated in it
				t.Errorf("reserved at %#x, the heap ends at %#x and is used up to %#x", off, h.limit, h.s.brk)
			}
		}
	}
}

func TestReserveRefused(t *testing.T) {
	testenv.NoLeaks(t)
	tests := []struct {
		rule  string
		spoil func(s *super)
		pages uint64
		want  error
	}{
		{"with something else in page 0", func(s *super) { s.roots[3] = 1 }, 1, ErrFormat},
		{"with something else where the record is", func(s *super) { s.reserved = 1 << 20 }, 1, ErrFormat},
		{"with more reserved than there is", func(s *super) { s.reserved = uint64(reservationMark | 1<<20) }, 1, ErrCorrupt},
		{"with no page left but the record's", func(*super) {}, 16, ErrFull},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			a := newArena(t, Options{Size: 16 * pageSize})
			if err := a.present(0, pageSize); err != nil {
				t.Fatal(err)
			}
			tt.spoil((*super)(a.mem))
			if off, err := a.reserve(tt.pages * pageSize); !errors.Is(err, tt.want) {
				t.Errorf("reserved at %#x, %v; want %v", off, err, tt.want)
			}
		})
	}
	t.Run("a heap, when all but two pages are", func(t *testing.T) {
		a := newArena(t, Options{Size: 16 * pageSize})
		if _, err := a.reserve(14 * pageSize); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Format(); !errors.Is(err, ErrFull) {
			t.Errorf("format: %v", err)
		}
		if off, err := a.reserve(pageSize); off != pageSize || err != nil {
			t.Errorf("reserved at %#x, %v", off, err)
		}
	})
}

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

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/arena/container"
	"github.com/rbtool/rbtool/arena/loader"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/bpftest/arenatest"
	"github.com/rbtool/rbtool/internal/testenv"
)

func loadGlobals(a *arena.Arena) (*loader.Collection, error) {
	spec, err := loader.LoadCollectionSpecFromReader(arenatest.Globals())
	if err != nil {
		return nil, err
	}
	return loader.NewCollection(spec, arenatest.Options(a))
}

func TestMain(m *testing.M) {
	arenatest.Main(m, map[string]arenatest.Helper{"globals": globals})
}

// globals is a helper process. It loads a collection with variables and prints the address of number.
// When it reads a line, it runs the program and prints number.
func globals(a *arena.Arena, in *bufio.Reader) error {
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
	number, err := arena.Ptr[uint64](c.Globals["number"]).Load(a)
	fmt.Println(number)
	return err
}

// useUp allocates the whole heap, and writes to it.
func useUp(tb testing.TB, h *container.Heap) {
	tb.Helper()
	for {
		p, err := h.Alloc(1000)
		if errors.Is(err, container.ErrFull) {
			return
		}
		if err == nil {
			err = arena.Ptr[[1000]byte](p).Store(h.Arena(), [1000]byte{1})
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
}

// Each process loads a collection. The variables of each have their own pages, which a heap that is
// created later does not use.
func TestVariablesOfProcessesAreApart(t *testing.T) {
	for _, rule := range []string{"without a heap", "segv on fault", "in a heap"} {
		t.Run(rule, func(t *testing.T) {
			testenv.NoLeaks(t)
			a := arenatest.New(t, arena.Options{SegvOnFault: rule == "segv on fault"})
			if rule == "in a heap" {
				if _, err := container.Format(a); err != nil {
					t.Fatal(err)
				}
			}
			pages := map[uint64]bool{}
			page := func(addr uint64) {
				if pages[addr/arenamem.PageSize] {
					t.Errorf("two of them lie on the page at %#x", addr&^(arenamem.PageSize-1))
				}
				pages[addr/arenamem.PageSize] = true
			}
			var all []*arenatest.Process
			for range 3 {
				p := arenatest.Start(t, "globals", a)
				addr, err := strconv.ParseUint(p.Line(), 10, 64)
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
			if fresh, err := arenamem.Of(a).Fresh(); fresh != (rule != "in a heap") || err != nil {
				t.Errorf("fresh %t, %v", fresh, err)
			}
			h, err := container.Format(a)
			if err != nil {
				t.Fatal(err)
			}
			for p := range pages {
				if end := a.Base() + (*arenamem.Super)(arenamem.Of(a).Addr).HeapLimit; rule != "in a heap" && p*arenamem.PageSize < end {
					t.Errorf("the heap ends at %#x, a variable lies at %#x", end, p*arenamem.PageSize)
				}
			}
			useUp(t, h)
			for _, p := range all {
				fmt.Fprintln(p.In)
				if got := p.Line(); got != "44" { // number is 42 and numbers[1] is 2
					t.Errorf("a variable is %s", got)
				}
				p.Finish()
			}
		})
	}
}

// Five goroutines reserve pages while another formats the arena: no pages overlap.
func TestReserveWhileFormatting(t *testing.T) {
	testenv.NoLeaks(t)
	for range 20 {
		a := arenatest.New(t, arena.Options{Size: 256 * arenamem.PageSize})
		var mu sync.Mutex
		var offs []uint64
		var wg sync.WaitGroup
		var h *arenamem.Heap
		for i := range 6 {
			wg.Go(func() {
				if i == 3 {
					var err error
					if h, err = arenamem.Of(a).Format(); err != nil {
						t.Error(err)
					}
					return
				}
				off, err := arenamem.Of(a).Reserve(2 * arenamem.PageSize)
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
			if i > 0 && off-offs[i-1] < 2*arenamem.PageSize {
				t.Errorf("reserved at %#x", offs)
			}
			if off < h.Limit && off+2*arenamem.PageSize > h.Super.Brk { // neither after the heap's end nor in its allocated part
				t.Errorf("reserved at %#x, the heap ends at %#x and is used up to %#x", off, h.Limit, h.Super.Brk)
			}
		}
	}
}

func TestReserveRefused(t *testing.T) {
	testenv.NoLeaks(t)
	tests := []struct {
		rule  string
		spoil func(s *arenamem.Super)
		pages uint64
		want  error
	}{
		{"if page 0 holds other data", func(s *arenamem.Super) { s.Roots[3] = 1 }, 1, container.ErrFormat},
		{"if page 0 holds other data in place of the record", func(s *arenamem.Super) { s.Reserved = 1 << 20 }, 1, container.ErrFormat},
		{"if more pages are reserved than the arena has", func(s *arenamem.Super) { s.Reserved = 0x64767372<<32 | 1<<20 }, 1, container.ErrCorrupt},
		{"if only the page of the record is left", func(*arenamem.Super) {}, 16, container.ErrFull},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			a := arenatest.New(t, arena.Options{Size: 16 * arenamem.PageSize})
			if err := arenamem.Of(a).Present(0, arenamem.PageSize); err != nil {
				t.Fatal(err)
			}
			tt.spoil((*arenamem.Super)(arenamem.Of(a).Addr))
			if off, err := arenamem.Of(a).Reserve(tt.pages * arenamem.PageSize); !errors.Is(err, tt.want) {
				t.Errorf("reserved at %#x, %v; want %v", off, err, tt.want)
			}
		})
	}
	t.Run("a heap if no page is left for its blocks", func(t *testing.T) {
		a := arenatest.New(t, arena.Options{Size: 16 * arenamem.PageSize})
		if _, err := arenamem.Of(a).Reserve(a.Size() - arenamem.HeadSize); err != nil {
			t.Fatal(err)
		}
		if _, err := container.Format(a); !errors.Is(err, container.ErrFull) {
			t.Errorf("format: %v", err)
		}
		left := arenamem.HeadSize - arenamem.PageSize // page 0 holds the record
		if off, err := arenamem.Of(a).Reserve(left); off != arenamem.PageSize || err != nil {
			t.Errorf("reserved at %#x, %v", off, err)
		}
	})
}

package arenatest

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/arena/loader"
	"github.com/rbtool/rbtool/internal/testenv"
)

// New creates an arena, which is closed when the test ends. It skips the test if the kernel has no arenas.
func New(tb testing.TB, opts arena.Options) *arena.Arena {
	tb.Helper()
	if opts.Name == "" {
		opts.Name = "test_arena"
	}
	if opts.Size == 0 {
		opts.Size = 1 << 20
	}
	a, err := arena.Create(opts)
	if errors.Is(err, ebpf.ErrNotSupported) {
		testenv.SkipWithout(tb, "arena", err)
	}
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := a.Close(); err != nil {
			tb.Error(err)
		}
	})
	return a
}

// Options returns options that load this package's programs with the arena a.
func Options(a *arena.Arena) loader.Options {
	return loader.Options{Arenas: map[string]*arena.Arena{bpfMapArena: a}, NoVariables: true}
}

// Load loads a collection with the arena a, and closes the collection when the test ends.
func Load(tb testing.TB, spec *ebpf.CollectionSpec, a *arena.Arena) *loader.Collection {
	tb.Helper()
	c, err := loader.NewCollection(spec, Options(a))
	if err != nil {
		tb.Fatalf("%+v", err)
	}
	tb.Cleanup(c.Close)
	return c
}

// Run runs a program and returns its return value.
func Run(tb testing.TB, p *ebpf.Program, opts ebpf.RunOptions) uint32 {
	tb.Helper()
	ret, err := p.Run(&opts)
	if err != nil {
		tb.Fatal(err)
	}
	return ret
}

// Page mirrors struct page of arenatest.bpf.c.
type Page struct {
	Count, Sum uint64
	Seen       [4]uint64
}

// FirstPage clears the arena's first page and returns it. This allocates the page.
func FirstPage(tb testing.TB, a *arena.Arena) *Page {
	tb.Helper()
	p, err := arena.Ptr[Page](a.Base()).In(a)
	if err != nil {
		tb.Fatal(err)
	}
	*p = Page{}
	return p
}

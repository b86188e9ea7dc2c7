package container

import (
	"errors"
	"sync/atomic"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/arena/loader"
	"github.com/rbtool/rbtool/internal/bpftest/arenaset"
	"github.com/rbtool/rbtool/internal/bpftest/arenatest"
)

// newHeap creates an arena with a heap.
func newHeap(tb testing.TB, opts arena.Options) *Heap {
	tb.Helper()
	if opts.Size == 0 {
		opts.Size = 64 << 20
	}
	h, err := Format(arenatest.New(tb, opts))
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

// programs runs jobs with the programs of arenaset.
type programs struct {
	tb testing.TB
	h  *Heap
	c  *loader.Collection
}

func loadSet(tb testing.TB, h *Heap, names ...string) programs {
	tb.Helper()
	spec, err := arenaset.Spec()
	if err != nil {
		tb.Fatal(err)
	}
	only := map[string]*ebpf.ProgramSpec{}
	for _, name := range names {
		only[name] = spec.Programs[name]
	}
	spec.Programs = only
	return programs{tb, h, arenatest.Load(tb, spec, h.a)}
}

// run runs a program until its job is done or makes no progress. It may be called by many goroutines at
// once.
func (p programs) run(name string, job arenaset.Job) (arenaset.Job, error) {
	at, mem, err := New[arenaset.Job](p.h)
	if err != nil {
		return job, err
	}
	defer p.h.Free(arena.Ptr[byte](at))
	*mem = job
	for atomic.LoadUint64(&mem.Done) < job.Count {
		before, full := mem.Done, mem.Full
		c := arenaset.Context{Job: uint64(at)}
		opts := ebpf.RunOptions{Context: c}
		if _, err := p.c.Programs[name].Run(&opts); err != nil {
			return *mem, err
		}
		switch {
		case mem.Full > full && name == arenaset.TableStormTP:
			// This program cannot allocate pages: allocate them for it.
			if err := p.h.Grow(p.h.h.Super.Brk + 1<<16); err != nil {
				return *mem, err
			}
		case mem.Done == before:
			return *mem, errors.New("the program makes no progress")
		}
	}
	return *mem, nil
}

func (p programs) must(name string, job arenaset.Job) arenaset.Job {
	p.tb.Helper()
	job, err := p.run(name, job)
	if err != nil {
		p.tb.Fatalf("%s: %v after %d of %d", name, err, job.Done, job.Count)
	}
	return job
}

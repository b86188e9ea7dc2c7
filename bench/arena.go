package main

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/arena/container"
	"github.com/rbtool/rbtool/arena/loader"
	"github.com/rbtool/rbtool/bench/harness"
	"github.com/rbtool/rbtool/internal/bpftest/arenaset"
)

// newArena returns an arena with a heap, and its id, by which peers open it.
func newArena(size uint64) (*container.Heap, ebpf.MapID, error) {
	a, err := arena.Create(arena.Options{Name: "bench", Size: size})
	if err != nil {
		return nil, 0, err
	}
	id, err := idOf(a.Map())
	if err != nil {
		return nil, 0, errors.Join(err, a.Close())
	}
	h, err := container.Format(a)
	if err != nil {
		return nil, 0, errors.Join(err, a.Close())
	}
	return h, id, nil
}

// openArena opens the arena of a request, whose first argument is its id.
func openArena(req *harness.Request) (*container.Heap, error) {
	m, err := openRing(req)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	a, err := arena.Open(m)
	if err != nil {
		return nil, err
	}
	h, err := container.OpenHeap(a)
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return h, nil
}

// runJob runs a program of package arenaset until it has done the whole job.
func runJob(h *container.Heap, program string, job arenaset.Job) error {
	spec, err := arenaset.Spec()
	if err != nil {
		return err
	}
	spec.Programs = map[string]*ebpf.ProgramSpec{program: spec.Programs[program]}
	c, err := loader.NewCollection(spec, loader.Options{
		Arenas: map[string]*arena.Arena{arenaset.Arena: h.Arena()}, NoVariables: true,
	})
	if err != nil {
		return err
	}
	defer c.Close()
	at, mem, err := container.New[arenaset.Job](h)
	if err != nil {
		return err
	}
	*mem = job
	for mem.Done < job.Count {
		before := mem.Done
		if _, err := c.Programs[program].Run(&ebpf.RunOptions{Context: arenaset.Context{Job: uint64(at)}}); err != nil {
			return fmt.Errorf("run %s: %w", program, err)
		}
		if mem.Done == before {
			return fmt.Errorf("%s stopped after %d of %d elements", program, before, job.Count)
		}
	}
	return h.Free(arena.Ptr[byte](at))
}

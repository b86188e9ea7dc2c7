// Package arena has the subcommands of rbtool arena, which show and change what an arena holds.
package arena

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/arena/container"
	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/cli/command"
)

// arenaCommands returns the commands of this family.
func Commands() []*cobra.Command {
	return []*cobra.Command{command.Group("arena", "What lies in an arena: its heap, lists, tables, memory",
		"  rbtool arena heap /sys/fs/bpf/heap\n  rbtool arena put /sys/fs/bpf/heap colour blue",
		newArenaHeap(), newArenaList(), newArenaTable(), newArenaDump(),
		newArenaPut(), newArenaGet(), newArenaDel(), newArenaServe())}
}

// withArena opens the arena that ref refers to, calls f, and closes it. One that
// has no address yet is refused, because opening it would give it one for good.
func withArena(command, ref string, f func(*arena.Arena) error) error {
	m, err := inspect.Lookup(ref, ebpf.Arena)
	if err != nil {
		return err
	}
	defer m.Close()
	base, err := arenamem.Address(m)
	if err == nil && base == 0 {
		err = errors.New("the arena has no address yet: it was created without one, and no process mapped it")
	}
	if err != nil {
		return fmt.Errorf("arena %s %s: %w", command, ref, err)
	}
	a, err := arena.Open(m)
	if err != nil {
		return fmt.Errorf("arena %s %s: %w", command, ref, err)
	}
	defer a.Close()
	if err := f(a); err != nil {
		return fmt.Errorf("arena %s %s: %w", command, ref, err)
	}
	return nil
}

var errNoHeap = fmt.Errorf("%w: there is no heap of rbtool's in it", container.ErrFormat)

// withHeap does the same for the heap of the arena, and does not touch an arena
// that has none.
func withHeap(command, ref string, f func(*container.Heap) error) error {
	return withArena(command, ref, func(a *arena.Arena) error {
		formatted, err := arenamem.Of(a).Formatted()
		if err != nil {
			return err
		}
		if !formatted {
			return errNoHeap
		}
		h, err := container.OpenHeap(a)
		if err != nil {
			return err
		}
		return f(h)
	})
}

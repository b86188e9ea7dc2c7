// Package arena provides the subcommands of rbtool arena, which show, change and serve the contents of
// arenas.
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

// Commands returns the commands of this package.
func Commands() []*cobra.Command {
	return []*cobra.Command{command.Group("arena", "Show and change the contents of an arena: its heap, lists, tables, memory",
		"  rbtool arena heap /sys/fs/bpf/heap\n  rbtool arena put /sys/fs/bpf/heap colour blue",
		newHeap(), newList(), newTable(), newDump(),
		newPut(), newGet(), newDel(), newServe())}
}

// withArena opens the arena ref, calls f, and closes the arena. Its errors name the subcommand verb. It
// refuses an arena without an address, because to open such an arena would fix its address for good.
func withArena(verb, ref string, f func(*arena.Arena) error) error {
	m, err := inspect.Lookup(ref, ebpf.Arena)
	if err != nil {
		return err
	}
	defer m.Close()
	base, err := arenamem.Address(m)
	if err == nil && base == 0 {
		err = errors.New("the arena has no address yet: it was created without one, and no process has mapped it")
	}
	if err != nil {
		return fmt.Errorf("arena %s %s: %w", verb, ref, err)
	}
	a, err := arena.Open(m)
	if err != nil {
		return fmt.Errorf("arena %s %s: %w", verb, ref, err)
	}
	defer a.Close()
	if err := f(a); err != nil {
		return fmt.Errorf("arena %s %s: %w", verb, ref, err)
	}
	return nil
}

// errNoHeap is the error for an arena without a heap of rbtool or package container.
var errNoHeap = command.WithHint(fmt.Errorf("%w: the arena has no heap", container.ErrFormat),
	"rbtool arena put makes one in an empty arena; rbtool arena dump shows any arena")

// withHeap opens the heap of the arena ref, calls f, and closes the arena.
func withHeap(verb, ref string, f func(*container.Heap) error) error {
	return withArena(verb, ref, func(a *arena.Arena) error {
		h, err := openHeap(a)
		if err != nil {
			return err
		}
		return f(h)
	})
}

// openHeap opens the heap of an arena. If the arena has none, it changes nothing.
func openHeap(a *arena.Arena) (*container.Heap, error) {
	formatted, err := arenamem.Of(a).Formatted()
	if err != nil {
		return nil, err
	}
	if !formatted {
		return nil, errNoHeap
	}
	return container.OpenHeap(a)
}

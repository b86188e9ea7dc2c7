// Package arena has the subcommands of rbtool arena, which show and change what an arena holds.
package arena

import (
	"errors"
	"fmt"
	"io"

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

func newArenaHeap() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "heap MAP",
		Short: "Show the heap of an arena: its size, its blocks, what is in it by name",
		Long: `Show the heap that package arena or rbtool arena put made in an arena: how much of
it is used, the blocks of each size, and the lists, tables and queues in it.
Who was killed while it allocated may have left a count wrong by one.`,
		Example: "  rbtool arena heap /sys/fs/bpf/heap\n  rbtool arena heap id:12 -o json",
		Args:    cobra.ExactArgs(1),
	}
	output := command.OutputFlag(cmd, "table", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return withHeap("heap", args[0], func(h *container.Heap) error {
			inner, err := arenamem.Of(h.Arena()).OpenHeap()
			if err != nil {
				return err
			}
			stats, err := inner.Stats()
			if err != nil {
				return err
			}
			roots, err := h.Roots()
			if err != nil {
				return err
			}
			return printHeap(cmd.OutOrStdout(), stats, roots, output.Value == "json")
		})
	}
	return cmd
}

// heapReport is what arena heap prints as JSON.
type heapReport struct {
	arenamem.HeapStats
	Roots []rootReport `json:"roots"`
}

type rootReport struct {
	Number  uint32 `json:"number"`
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Address uint64 `json:"address"`
}

func printHeap(w io.Writer, st arenamem.HeapStats, roots []container.Root, asJSON bool) error {
	report := heapReport{HeapStats: st, Roots: []rootReport{}}
	for _, r := range roots {
		report.Roots = append(report.Roots, rootReport{r.Number, r.Name, r.Kind.String(), uint64(r.Ptr)})
	}
	if asJSON {
		return command.PrintJSON(w, report)
	}
	rows := [][]string{
		{"size", command.FormatSize(st.Size)},
		{"present", command.FormatSize(st.Present)},
		{"blocks", fmt.Sprintf("%d bytes", st.Carved)},
		{"used", fmt.Sprintf("%d bytes", st.Used)},
	}
	if st.Corrupt > 0 {
		rows = append(rows, []string{"broken", fmt.Sprintf("%d free lists, whose blocks are lost", st.Corrupt)})
	}
	if err := command.PrintTable(w, rows); err != nil {
		return err
	}
	fmt.Fprintln(w)
	rows = [][]string{{"BLOCK", "USED", "FREE"}}
	for _, c := range st.Classes {
		rows = append(rows, []string{fmt.Sprint(c.Size), fmt.Sprint(c.Used), fmt.Sprint(c.Carved - c.Used)})
	}
	if err := command.PrintTable(w, rows); err != nil {
		return err
	}
	if len(roots) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	rows = [][]string{{"ROOT", "KIND", "NAME", "ADDRESS"}}
	for _, r := range report.Roots {
		rows = append(rows, []string{fmt.Sprint(r.Number), r.Kind, r.Name, fmt.Sprintf("%#x", r.Address)})
	}
	return command.PrintTable(w, rows)
}

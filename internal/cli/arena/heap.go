package arena

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/arena/container"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/cli/command"
)

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

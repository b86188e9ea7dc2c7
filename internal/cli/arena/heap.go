package arena

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/arena/container"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/cli/command"
)

func newHeap() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "heap MAP",
		Short: "Show the heap of an arena: its size, its blocks, its lists, tables and queues",
		Long: `Show the heap that rbtool arena put or the Go package arena/container made in an arena: how
much of it is used, the blocks of each size, and the lists, tables and queues in it.
A process that was killed while it allocated may have left a count off by one.`,
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
			if output.Value == "json" {
				return command.PrintJSON(cmd.OutOrStdout(), jsonHeap(stats, roots))
			}
			return printHeap(cmd.OutOrStdout(), stats, roots)
		})
	}
	return cmd
}

// heapJSON is the JSON output of arena heap. Scripts rely on its member names.
type heapJSON struct {
	Size    uint64      `json:"size"`
	Carved  uint64      `json:"carved"`
	Present uint64      `json:"present"`
	Used    uint64      `json:"used"`
	Corrupt uint64      `json:"corrupt"`
	Classes []classJSON `json:"classes"`
	Roots   []rootJSON  `json:"roots"`
}

type classJSON struct {
	Size   uint64 `json:"size"`
	Used   int64  `json:"used"`
	Blocks int64  `json:"blocks"`
}

type rootJSON struct {
	Number  uint32 `json:"number"`
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Address uint64 `json:"address"`
}

func jsonHeap(st arenamem.HeapStats, roots []container.Root) heapJSON {
	j := heapJSON{Size: st.Size, Carved: st.Carved, Present: st.Present, Used: st.Used, Corrupt: st.Corrupt, Roots: []rootJSON{}}
	for _, c := range st.Classes {
		j.Classes = append(j.Classes, classJSON{c.Size, c.Used, c.Carved})
	}
	for _, r := range roots {
		j.Roots = append(j.Roots, rootJSON{r.Number, r.Name, r.Kind.String(), uint64(r.Ptr)})
	}
	return j
}

// printHeap prints up to three tables: about the heap, its blocks and its roots.
func printHeap(w io.Writer, st arenamem.HeapStats, roots []container.Root) error {
	heap := [][]string{
		{"size", command.FormatSize(st.Size)},
		{"present", command.FormatSize(st.Present)},
		{"blocks", fmt.Sprintf("%d bytes", st.Carved)},
		{"used", fmt.Sprintf("%d bytes", st.Used)},
	}
	if st.Corrupt > 0 {
		heap = append(heap, []string{"broken", fmt.Sprintf("%d free lists, whose blocks are lost", st.Corrupt)})
	}
	blocks := [][]string{{"BLOCK", "USED", "FREE"}}
	for _, c := range st.Classes {
		blocks = append(blocks, []string{fmt.Sprint(c.Size), fmt.Sprint(c.Used), fmt.Sprint(c.Carved - c.Used)})
	}
	tables := [][][]string{heap, blocks}
	if len(roots) > 0 {
		rows := [][]string{{"ROOT", "KIND", "NAME", "ADDRESS"}}
		for _, r := range roots {
			rows = append(rows, []string{fmt.Sprint(r.Number), r.Kind.String(), r.Name, fmt.Sprintf("%#x", uint64(r.Ptr))})
		}
		tables = append(tables, rows)
	}
	for i, rows := range tables {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := command.PrintTable(w, rows); err != nil {
			return err
		}
	}
	return nil
}

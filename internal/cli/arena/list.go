package arena

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/arena/container"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/stream"
)

// walkOptions are the flags of arena list and arena table.
type walkOptions struct {
	valueOptions
	count command.Count
}

func (o *walkOptions) flags(cmd *cobra.Command) {
	o.valueOptions.flags(cmd, "text", "json")
	cmd.Flags().VarP(&o.count, "count", "n", "exit after this many")
}

func newList() *cobra.Command {
	var opts walkOptions
	cmd := &cobra.Command{
		Use:   "list MAP NAME",
		Short: "Print the nodes of a list in an arena",
		Long: `Print the nodes of a list in the heap of an arena, from the front, while others use the
list. If the list is circular or leaves the arena, the command prints the nodes up to there
and then fails. It also fails if nodes are removed in the meantime; the last nodes printed
may then be wrong.

--type is the type of the whole node, including its pointer to the next one.`,
		Example: `  rbtool arena list /sys/fs/bpf/heap tasks
  rbtool arena list /sys/fs/bpf/heap tasks --type task --btf prog:34 -o json`,
		Args: cobra.ExactArgs(2),
	}
	opts.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := opts.types.CheckNamed("arena list"); err != nil {
			return err
		}
		return withHeap("list", args[0], func(h *container.Heap) error {
			l, err := container.OpenList(h, args[1])
			if err != nil {
				return err
			}
			inner, err := arenamem.Of(h.Arena()).OpenHeap()
			if err != nil {
				return err
			}
			return opts.list(cmd.OutOrStdout(), inner, l)
		})
	}
	return cmd
}

func (o *walkOptions) list(w io.Writer, h *arenamem.Heap, l *container.List) (err error) {
	dec, err := o.decoder(-1)
	if err != nil {
		return err
	}
	out := &stream.Writer{W: w}
	defer func() { err = errors.Join(err, out.Flush()) }()
	format := newValues(dec)
	seq := uint64(0)
	for p, err := range l.All() {
		if err != nil {
			return err
		}
		data, err := nodeData(h, p)
		if err != nil {
			return err
		}
		seq++
		if o.output.Value == "json" {
			out.Buf = fmt.Appendf(out.Buf, `{"seq":%d,"address":%d,`, seq, uint64(p))
			out.Buf = append(format.appendJSON(out.Buf, data), "}\n"...)
		} else {
			out.Buf = fmt.Appendf(out.Buf, "%#x ", uint64(p))
			out.Buf = append(format.appendText(out.Buf, data), '\n')
		}
		if err := out.FlushLarge(); err != nil {
			return err
		}
		if seq == uint64(o.count) {
			return nil
		}
	}
	return nil
}

// maxNode is how many bytes of a node are shown.
const maxNode = 64 << 10

// nodeData copies a node: all bytes of the block that was allocated for it.
func nodeData(h *arenamem.Heap, p arena.Ptr[container.Link]) ([]byte, error) {
	n, err := h.Requested(uint64(p))
	if err != nil {
		n = 8 // p is not a block of the heap: show only the pointer to the next node
	}
	data := make([]byte, min(n, maxNode))
	mem, err := h.Mem.Bytes(uint64(p), uint64(len(data)))
	if err != nil {
		return nil, err
	}
	return data, h.Mem.Guard(func() error { copy(data, mem); return nil })
}

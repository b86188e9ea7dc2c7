package arena

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/arena/container"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/stream"
)

func newTable() *cobra.Command {
	var opts walkOptions
	cmd := &cobra.Command{
		Use:   "table MAP [NAME]",
		Short: "Print the keys and values of a table in an arena",
		Long: `Print the keys and values of a table in the heap of an arena, in no particular order, while
others use the table: each key with a value that it had at some time. NAME may be omitted for
the only table, and for ` + kvName + `, the table of rbtool arena put.

--type is the type of the values. Keys, and values without --type, are shown in hex; those
of a table of byte strings, such as ` + kvName + `, as text. The table of processes that rbtool
probe proctrace start --processes keeps needs no type.`,
		Example: `  rbtool arena table /sys/fs/bpf/heap
  rbtool arena table /sys/fs/bpf/rbtool/proctrace/processes
  rbtool arena table /sys/fs/bpf/heap flows --type flow --btf prog:34 -o json`,
		Args: cobra.RangeArgs(1, 2),
	}
	opts.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := opts.types.CheckNamed("arena table"); err != nil {
			return err
		}
		return withHeap("table", args[0], func(h *container.Heap) error {
			name, err := tableName(h, args[1:])
			if err != nil {
				return err
			}
			t, err := container.OpenTable(h, name)
			if err != nil {
				return err
			}
			kv, err := container.OpenKV(h, name)
			if err != nil && !errors.Is(err, container.ErrFormat) {
				return err
			}
			return opts.table(cmd.OutOrStdout(), t, kv, name)
		})
	}
	return cmd
}

// tableName returns the name given on the command line. Without one it returns the name of the heap's
// only table, or kvName if the heap has no table or several.
func tableName(h *container.Heap, given []string) (string, error) {
	if len(given) > 0 {
		return given[0], nil
	}
	roots, err := h.Roots()
	if err != nil {
		return "", err
	}
	tables := slices.DeleteFunc(roots, func(r container.Root) bool { return r.Kind != container.KindTable })
	if len(tables) == 1 {
		return tables[0].Name, nil
	}
	return kvName, nil
}

// table prints the entries of a table. kv is the same table, or nil if its keys and values are not byte
// strings.
func (o *walkOptions) table(w io.Writer, t *container.Table, kv *container.KV, name string) (err error) {
	dec, err := o.decoder(t.ValueSize())
	if err == nil && dec == nil && name == stream.ProcessTable {
		dec, err = stream.ProcessDecoder()
	}
	if err != nil {
		return err
	}
	out := &stream.Writer{W: w}
	defer func() { err = errors.Join(err, out.Flush()) }()
	format := newValues(dec)
	entries := t.All()
	text := kv != nil && dec == nil && !o.types.NoDecode
	if text {
		entries = kv.All()
	}
	seq := uint64(0)
	for e, err := range entries {
		if err != nil {
			return err
		}
		seq++
		switch {
		case text:
			if out.Buf, err = appendPair(out.Buf, e, o.output.Value == "json"); err != nil {
				return err
			}
		case o.output.Value == "json":
			out.Buf = append(out.Buf, `{"key":"`...)
			out.Buf = append(hex.AppendEncode(out.Buf, e.Key), `",`...)
			out.Buf = append(format.appendJSON(out.Buf, e.Value), "}\n"...)
		default:
			out.Buf = append(hex.AppendEncode(out.Buf, e.Key), ' ')
			out.Buf = append(format.appendText(out.Buf, e.Value), '\n')
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

// appendPair appends a pair of byte strings.
func appendPair(dst []byte, e container.Entry, asJSON bool) ([]byte, error) {
	if !asJSON {
		return fmt.Appendf(dst, "%s %s\n", quotedIfNeeded(e.Key), quotedIfNeeded(e.Value)), nil
	}
	dst, err := command.AppendJSON(dst, newPair(e.Key, e.Value))
	return append(dst, '\n'), err
}

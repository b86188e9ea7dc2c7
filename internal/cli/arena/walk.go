package arena

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/cilium/ebpf/btf"
	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/arena/container"
	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/arenamem"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/escape"
	"github.com/rbtool/rbtool/internal/stream"
)

// quotedIfNeeded returns text in quotes if it has to be escaped.
func quotedIfNeeded(text []byte) string {
	if s := string(text); escape.String(s) == s {
		return s
	}
	return string(escape.AppendQuoted(nil, text))
}

// walkOptions are the flags of arena list and arena table.
type walkOptions struct {
	types  command.TypeOptions
	output *command.Choice
	count  command.Count
}

func (o *walkOptions) flags(cmd *cobra.Command) {
	o.output = command.OutputFlag(cmd, "text", "json")
	o.types.Flags(cmd.Flags())
	cmd.Flags().VarP(&o.count, "count", "n", "stop after so many")
}

// decoder returns what decodes n bytes as the flags say: nil for hex.
func (o *walkOptions) decoder(n int) (*decode.Codec, error) {
	if len(o.types.Names) == 0 {
		return nil, nil
	}
	set, err := o.types.Load()
	if err != nil {
		return nil, err
	}
	decoders := set.Codecs()
	if len(decoders) != 1 {
		return nil, errors.New("--type: one type, not several")
	}
	if n >= 0 && decoders[0].Size() > n {
		return nil, fmt.Errorf("--type %s: it has %d bytes, there are %d", decoders[0].Name(), decoders[0].Size(), n)
	}
	return decoders[0], nil
}

// whole is the part of data that is a value of the decoder's type, and not what was allocated beyond
// it. It is not Size, which leaves out an array of characters at the end.
func whole(data []byte, dec *decode.Codec) []byte {
	size, err := btf.Sizeof(dec.Type())
	if err != nil {
		size = 0
	}
	return data[:min(len(data), max(size, dec.Size()))]
}

// appendData appends data as JSON fields: decoded, or in hex.
func appendData(dst, data []byte, dec *decode.Codec) []byte {
	if dec != nil && len(data) >= dec.Size() {
		if out, ok := stream.AppendTyped(dst, whole(data, dec), dec); ok {
			return out
		}
	}
	return stream.AppendHex(dst, data)
}

// appendText appends data for people.
func appendText(dst, data []byte, dec *decode.Codec, columns *decode.Columns) []byte {
	if dec != nil && len(data) >= dec.Size() {
		if out, err := dec.AppendText(dst, whole(data, dec), columns); err == nil {
			return out
		}
	}
	return hex.AppendEncode(dst, data)
}

func newArenaList() *cobra.Command {
	var opts walkOptions
	cmd := &cobra.Command{
		Use:   "list MAP NAME",
		Short: "Walk over a list in an arena",
		Long: `Walk over a list in the heap of an arena, from its front, while others go on
using it. A list that goes in a circle, or out of the arena, is walked up to
there, and then it is an error. So it is when nodes are taken off the list
meanwhile: those that were already printed may then be wrong.

--type is the type of the whole node, its pointer to the next one included.`,
		Example: `  rbtool arena list /sys/fs/bpf/heap tasks
  rbtool arena list /sys/fs/bpf/heap tasks --type task --btf prog:34 -o json`,
		Args: cobra.ExactArgs(2),
	}
	opts.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := opts.types.Check("arena list"); err != nil {
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
	var columns decode.Columns
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
			out.Buf = append(appendData(out.Buf, data, dec), "}\n"...)
		} else {
			out.Buf = fmt.Appendf(out.Buf, "%#x ", uint64(p))
			out.Buf = append(appendText(out.Buf, data, dec, &columns), '\n')
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

// maxNode is how much of a node is shown, in bytes.
const maxNode = 64 << 10

// nodeData copies a node: as much as was allocated for it.
func nodeData(h *arenamem.Heap, p arena.Ptr[container.Link]) ([]byte, error) {
	n, err := h.Requested(uint64(p))
	if err != nil {
		n = 8 // no block of the heap: the pointer that was followed
	}
	data := make([]byte, min(n, maxNode))
	mem, err := h.Mem.Bytes(uint64(p), uint64(len(data)))
	if err != nil {
		return nil, err
	}
	return data, h.Mem.Guard(func() error { copy(data, mem); return nil })
}

func newArenaTable() *cobra.Command {
	var opts walkOptions
	cmd := &cobra.Command{
		Use:   "table MAP [NAME]",
		Short: "Print the keys and values of a table in an arena",
		Long: `Print the keys and values of a table in the heap of an arena, in no order, while
others go on changing it: each key with a value that it had. Without NAME it is
the table of rbtool arena put, ` + kvName + `, or the only one that there is.

--type is the type of the values. Keys, and values without --type, are in hex;
those of a table of byte strings, such as ` + kvName + `, are text. The values of the
table of processes that rbtool probe proctrace start --processes keeps need no type.`,
		Example: `  rbtool arena table /sys/fs/bpf/heap
  rbtool arena table /sys/fs/bpf/rbtool/proctrace/processes
  rbtool arena table /sys/fs/bpf/heap flows --type flow --btf prog:34 -o json`,
		Args: cobra.RangeArgs(1, 2),
	}
	opts.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := opts.types.Check("arena table"); err != nil {
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

// tableName is the name that was given, or else that of the table that is meant.
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

// table prints a table. kv is the same table, or nil if its keys and values are no byte strings.
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
	var columns decode.Columns
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
			out.Buf = append(appendData(out.Buf, e.Value, dec), "}\n"...)
		default:
			out.Buf = append(hex.AppendEncode(out.Buf, e.Key), ' ')
			out.Buf = append(appendText(out.Buf, e.Value, dec, &columns), '\n')
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

// pair is a key and its value as JSON: in hex where they are not text.
type pair struct {
	Key      *string `json:"key,omitempty"`
	KeyHex   *string `json:"key_hex,omitempty"`
	Value    *string `json:"value,omitempty"`
	ValueHex *string `json:"value_hex,omitempty"`
}

func newPair(key, value []byte) (p pair) {
	p.Key, p.KeyHex = textOrHex(key)
	p.Value, p.ValueHex = textOrHex(value)
	return p
}

func textOrHex(b []byte) (text, inHex *string) {
	if utf8.Valid(b) && !bytes.ContainsRune(b, 0) {
		s := string(b)
		return &s, nil
	}
	s := hex.EncodeToString(b)
	return nil, &s
}

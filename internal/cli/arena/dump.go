package arena

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/stream"
)

// dumpOptions are the flags of arena dump.
type dumpOptions struct {
	valueOptions
	length command.Size
	at     arena.Ptr[byte] // an address, or an offset if relative
	// relative means that at is an offset: the argument begins with +, or there is none.
	relative bool
	whole    bool // --length is not given
}

func newDump() *cobra.Command {
	opts := dumpOptions{length: 4 << 10}
	cmd := &cobra.Command{
		Use:   "dump MAP [ADDRESS|+OFFSET]",
		Short: "Print memory of an arena without allocating it",
		Long: `Print the memory of an arena from an address on, or from its beginning. A BPF program reads
the memory, so that reading allocates no page. Pages that are not allocated are zeros. Lines
of zeros are omitted.

With --type, print one value of that type.`,
		Example: `  rbtool arena dump /sys/fs/bpf/heap
  rbtool arena dump /sys/fs/bpf/heap +0x2000 --length 64
  rbtool arena dump id:12 0x120000001000 --type task --btf prog:34 -o json`,
		Args: cobra.RangeArgs(1, 2),
	}
	opts.flags(cmd, "text", "json", "raw")
	cmd.Flags().Var(&opts.length, "length", "print this many bytes")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := opts.parse(cmd, args); err != nil {
			return err
		}
		return withArena("dump", args[0], func(a *arena.Arena) error { return opts.dump(cmd.OutOrStdout(), a) })
	}
	return cmd
}

// parse checks the flags and sets the address.
func (o *dumpOptions) parse(cmd *cobra.Command, args []string) error {
	if err := o.types.CheckNamed("arena dump"); err != nil {
		return err
	}
	o.relative, o.whole = true, !cmd.Flags().Changed("length")
	if len(args) > 1 {
		var at command.Address
		text, relative := strings.CutPrefix(args[1], "+")
		if at.Set(text) != nil {
			return command.Usagef("arena dump: %s: not an address such as 0x120000000000, nor an offset such as +0x1000", args[1])
		}
		o.at, o.relative = arena.Ptr[byte](at), relative
	}
	if o.length == 0 {
		return command.Usagef("arena dump: --length 0: nothing to print")
	}
	return nil
}

func (o *dumpOptions) dump(w io.Writer, a *arena.Arena) (err error) {
	out := &stream.Writer{W: w}
	defer func() { err = errors.Join(err, out.Flush()) }()
	p := o.at
	if o.relative {
		p += arena.Ptr[byte](a.Base())
	}
	if o.typed() {
		return o.dumpValue(out, a, p)
	}
	left := uint64(o.length)
	if end := a.Base() + a.Size(); o.whole && uint64(p) >= a.Base() && uint64(p) < end {
		left = min(left, end-uint64(p)) // the default length ends with the arena
	}
	if _, err := a.Bytes(p, left); err != nil {
		return err
	}
	const chunk = 64 << 10
	for left > 0 {
		data, err := peek(a, p, min(left, chunk-uint64(p)%8))
		if err != nil {
			return err
		}
		o.append(out, uint64(p), data)
		if err := out.FlushLarge(); err != nil {
			return err
		}
		p, left = p+arena.Ptr[byte](len(data)), left-uint64(len(data))
	}
	return nil
}

// dumpValue prints the value of --type at p.
func (o *dumpOptions) dumpValue(out *stream.Writer, a *arena.Arena, p arena.Ptr[byte]) error {
	dec, err := o.decoder(-1)
	if err != nil {
		return err
	}
	size := uint64(dec.Size())
	if _, err := a.Bytes(p, size); err != nil {
		return err
	}
	data, err := peek(a, p, size)
	if err != nil {
		return err
	}
	format := newValues(dec)
	switch o.output.Value {
	case "raw":
		out.Buf = append(out.Buf, data...)
	case "json":
		out.Buf = fmt.Appendf(out.Buf, `{"address":%d,`, uint64(p))
		out.Buf = append(format.appendJSON(out.Buf, data), "}\n"...)
	default:
		out.Buf = fmt.Appendf(out.Buf, "%#x ", uint64(p))
		out.Buf = append(format.appendText(out.Buf, data), '\n')
	}
	return nil
}

// peek copies n bytes at p without allocating pages. It starts at the aligned
// address before p, because the BPF program that copies requires alignment.
func peek(a *arena.Arena, p arena.Ptr[byte], n uint64) ([]byte, error) {
	skip := uint64(p) % 8
	data := make([]byte, skip+n)
	if err := a.Peek(p-arena.Ptr[byte](skip), data); err != nil {
		return nil, err
	}
	return data[skip:], nil
}

// dumpLine is how many bytes a line shows.
const dumpLine = 16

// append appends the lines for the memory at an address, in the format of the output.
func (o *dumpOptions) append(out *stream.Writer, at uint64, data []byte) {
	switch o.output.Value {
	case "raw":
		out.Buf = append(out.Buf, data...)
		return
	case "json":
		out.Buf = fmt.Appendf(out.Buf, `{"address":%d,`, at)
		out.Buf = append(stream.AppendHex(out.Buf, data), "}\n"...)
		return
	}
	for len(data) > 0 {
		line := data[:min(dumpLine-int(at%dumpLine), len(data))]
		if len(bytes.TrimLeft(line, "\x00")) > 0 {
			out.Buf = appendDumpLine(out.Buf, at, line)
		}
		at, data = at+uint64(len(line)), data[len(line):]
	}
}

// appendDumpLine appends a line of at most dumpLine bytes in hex and ASCII.
func appendDumpLine(dst []byte, at uint64, line []byte) []byte {
	dst = fmt.Appendf(dst, "%#x  ", at)
	for _, b := range line {
		dst = append(hex.AppendEncode(dst, []byte{b}), ' ')
	}
	dst = append(dst, bytes.Repeat([]byte("   "), dumpLine-len(line))...)
	dst = append(dst, ' ')
	for _, b := range line {
		if b < ' ' || b > '~' {
			b = '.'
		}
		dst = append(dst, b)
	}
	return append(dst, '\n')
}

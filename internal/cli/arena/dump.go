package arena

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/stream"
)

// dumpOptions are the flags of arena dump.
type dumpOptions struct {
	types  command.TypeOptions
	output *command.Choice
	length command.Size
}

func newArenaDump() *cobra.Command {
	opts := dumpOptions{length: 4 << 10}
	cmd := &cobra.Command{
		Use:   "dump MAP [ADDRESS|+OFFSET]",
		Short: "Print memory of an arena without allocating it",
		Long: `Print the memory of an arena from an address on, or from its beginning. A
program reads it, so that no page is allocated by looking: what is not
allocated is zeros. Lines of zeros are left out.

With --type the memory is one value of that type.`,
		Example: `  rbtool arena dump /sys/fs/bpf/heap
  rbtool arena dump /sys/fs/bpf/heap +0x2000 --length 64
  rbtool arena dump id:12 0x120000001000 --type task --btf prog:34 -o json`,
		Args: cobra.RangeArgs(1, 2),
	}
	opts.output = command.OutputFlag(cmd, "text", "json", "raw")
	opts.types.Flags(cmd.Flags())
	cmd.Flags().Var(&opts.length, "length", "how many bytes")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := opts.types.Check("arena dump"); err != nil {
			return err
		}
		at, relative := command.Address(0), true
		if len(args) > 1 {
			text := args[1]
			if text, relative = strings.CutPrefix(text, "+"); at.Set(text) != nil {
				return command.Usagef("arena dump: %s: not an address such as 0x120000000000, nor an offset such as +0x1000", args[1])
			}
		}
		if opts.length == 0 {
			return command.Usagef("arena dump: --length 0: nothing to print")
		}
		return withArena("dump", args[0], func(a *arena.Arena) error {
			p := arena.Ptr[byte](at)
			if relative {
				p += arena.Ptr[byte](a.Base())
			}
			return opts.dump(&stream.Writer{W: cmd.OutOrStdout()}, a, p, !cmd.Flags().Changed("length"))
		})
	}
	return cmd
}

// dumpStep is how much is copied at once, in bytes.
const dumpStep = 64 << 10

func (o *dumpOptions) dump(out *stream.Writer, a *arena.Arena, p arena.Ptr[byte], anyLength bool) (err error) {
	defer func() { err = errors.Join(err, out.Flush()) }()
	left := uint64(o.length)
	var dec *decode.Codec
	if len(o.types.Names) > 0 {
		w := walkOptions{types: o.types}
		if dec, err = w.decoder(-1); err != nil {
			return err
		}
		left = uint64(dec.Size())
	} else if end := a.Base() + a.Size(); anyLength && uint64(p) >= a.Base() && uint64(p) < end {
		left = min(left, end-uint64(p))
	}
	if _, err := a.Bytes(p, left); err != nil {
		return err
	}
	// Programs read whole words.
	skip := uint64(p) % 8
	p, left = p-arena.Ptr[byte](skip), left+skip
	if dec != nil {
		data := make([]byte, left)
		if err := a.Peek(p, data); err != nil {
			return err
		}
		return o.value(out, uint64(p)+skip, data[skip:], dec)
	}
	for left > 0 {
		data := make([]byte, min(left, dumpStep))
		if err := a.Peek(p, data); err != nil {
			return err
		}
		o.append(out, uint64(p)+skip, data[skip:])
		if err := out.FlushLarge(); err != nil {
			return err
		}
		p, left, skip = p+arena.Ptr[byte](len(data)), left-uint64(len(data)), 0
	}
	return nil
}

func (o *dumpOptions) value(out *stream.Writer, at uint64, data []byte, dec *decode.Codec) error {
	switch o.output.Value {
	case "raw":
		out.Buf = append(out.Buf, data...)
	case "json":
		out.Buf = fmt.Appendf(out.Buf, `{"address":%d,`, at)
		out.Buf = append(appendData(out.Buf, data, dec), "}\n"...)
	default:
		out.Buf = fmt.Appendf(out.Buf, "%#x ", at)
		out.Buf = append(appendText(out.Buf, data, dec, nil), '\n')
	}
	return nil
}

// dumpLine is how much a line shows, in bytes.
const dumpLine = 16

// append appends a piece of memory.
func (o *dumpOptions) append(out *stream.Writer, at uint64, data []byte) {
	switch o.output.Value {
	case "raw":
		out.Buf = append(out.Buf, data...)
		return
	case "json":
		out.Buf = fmt.Appendf(out.Buf, `{"address":%d,"hex":"`, at)
		out.Buf = append(hex.AppendEncode(out.Buf, data), "\"}\n"...)
		return
	}
	for len(data) > 0 {
		line := data[:min(dumpLine-int(at%dumpLine), len(data))]
		if len(bytes.TrimLeft(line, "\x00")) > 0 {
			out.Buf = append(strconv.AppendUint(append(out.Buf, "0x"...), at, 16), ' ', ' ')
			for _, b := range line {
				out.Buf = append(hex.AppendEncode(out.Buf, []byte{b}), ' ')
			}
			out.Buf = append(out.Buf, bytes.Repeat([]byte("   "), dumpLine-len(line))...)
			out.Buf = append(out.Buf, ' ')
			for _, b := range line {
				if b < ' ' || b > '~' {
					b = '.'
				}
				out.Buf = append(out.Buf, b)
			}
			out.Buf = append(out.Buf, '\n')
		}
		at, data = at+uint64(len(line)), data[len(line):]
	}
}

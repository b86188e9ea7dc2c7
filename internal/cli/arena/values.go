package arena

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/cilium/ebpf/btf"
	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/stream"
)

// valueOptions are the flags that select how values in an arena are shown.
type valueOptions struct {
	types  command.TypeOptions
	output *command.Choice
}

func (o *valueOptions) flags(cmd *cobra.Command, formats ...string) {
	o.output = command.OutputFlag(cmd, formats...)
	o.types.Flags(cmd.Flags())
	o.types.Complete(cmd)
}

// typed reports whether --type or --struct is given.
func (o *valueOptions) typed() bool { return o.types.Named() }

// decoder returns the decoder for the type that --type or --struct names, or nil without them. It refuses a type that is
// larger than size bytes; a negative size allows any type.
func (o *valueOptions) decoder(size int) (*decode.Codec, error) {
	if !o.typed() {
		return nil, nil
	}
	found, err := o.types.Load()
	if err != nil {
		return nil, err
	}
	if len(found) != 1 {
		return nil, errors.New("give one type, not several")
	}
	dec, err := decode.New(found[0].Type)
	if err != nil {
		return nil, err
	}
	if size >= 0 && dec.Size() > size {
		return nil, fmt.Errorf("type %s has %d bytes, the value %d", dec.Name(), dec.Size(), size)
	}
	return dec, nil
}

// values formats values of one type.
type values struct {
	dec     *decode.Codec   // nil shows values in hex
	printer *decode.Printer // of dec, for text
}

// newValues returns the format of values of the type of dec, which may be nil.
func newValues(dec *decode.Codec) values {
	if dec == nil {
		return values{}
	}
	return values{dec, dec.Printer(decode.PrintOptions{Host: command.Host(), Full: true})}
}

// appendJSON appends the members of a JSON object that show a value.
func (v values) appendJSON(dst, value []byte) []byte {
	if v.dec != nil && len(value) >= v.dec.Size() {
		if out, ok := stream.AppendTyped(dst, v.trim(value), v.dec); ok {
			return out
		}
	}
	return stream.AppendHex(dst, value)
}

// appendText appends a value as text.
func (v values) appendText(dst, value []byte) []byte {
	if v.dec != nil && len(value) >= v.dec.Size() {
		if out, err := v.printer.AppendText(dst, v.trim(value)); err == nil {
			return out
		}
	}
	return hex.AppendEncode(dst, value)
}

// trim returns the bytes of value that belong to its type: the block can be larger. It does not use
// dec.Size, which excludes an array of characters at the end.
func (v values) trim(value []byte) []byte {
	size, err := btf.Sizeof(v.dec.Type())
	if err != nil {
		size = 0
	}
	return value[:min(len(value), max(size, v.dec.Size()))]
}

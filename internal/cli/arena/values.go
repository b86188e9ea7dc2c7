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

package command

import (
	"fmt"
	"io"

	"github.com/cilium/ebpf"
	"github.com/spf13/pflag"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/escape"
	"github.com/rbtool/rbtool/internal/stream"
)

// TypeOptions are the flags that say how records are decoded.
type TypeOptions struct {
	Names    []string
	from     string // value of --btf
	NoDecode bool
	explain  bool
}

// Flags adds the flags to f.
func (o *TypeOptions) Flags(f *pflag.FlagSet) {
	f.StringSliceVar(&o.Names, "type", nil, "decode records as these types; several are distinguished by their first enum or their length")
	f.StringVar(&o.from, "btf", "", "read the types from FILE (BTF or ELF), prog:ID or kernel")
	f.BoolVar(&o.NoDecode, "no-decode", false, "show records in hex")
	f.BoolVar(&o.explain, "explain", false, "print to stderr how the types of records were found, and how certain they are")
}

// Check returns a usage error if flags contradict each other. command is the name in the error.
func (o *TypeOptions) Check(command string) error {
	switch {
	case o.NoDecode && o.explain:
		return Usagef("%s: --explain does not go with --no-decode", command)
	case len(o.Names) > 0 && o.explain:
		return Usagef("%s: --explain does not go with --type", command)
	case o.NoDecode && (len(o.Names) > 0 || o.from != ""):
		return Usagef("%s: --no-decode does not go with --type or --btf", command)
	case len(o.Names) > 0 && o.from == "":
		return Usagef("%s: --type needs --btf FILE|prog:ID|kernel, to find the type", command)
	case len(o.Names) == 0 && o.from != "":
		return Usagef("%s: --btf needs --type NAME", command)
	}
	if err := stream.CheckBTF(o.from); err != nil {
		return Usagef("%s: --btf %s: %w", command, o.from, err)
	}
	return nil
}

// Find returns the types of the records of m: those that the flags name, otherwise those that it finds
// out.
func (o *TypeOptions) Find(m *ebpf.Map) (stream.Types, error) {
	switch {
	case o.NoDecode:
		return stream.Types{}, nil
	case len(o.Names) > 0:
		set, err := o.Load()
		return stream.Types{Set: set}, err
	}
	return stream.FindTypes(m)
}

// Load returns the types that --type names.
func (o *TypeOptions) Load() (*decode.Set, error) { return stream.NamedSet(o.Names, o.from) }

// Report prints how the types are known if --explain is given, otherwise only what is uncertain.
func (o *TypeOptions) Report(w io.Writer, types stream.Types) {
	if o.explain && len(types.Explanation) > 0 {
		for _, line := range types.Explanation {
			fmt.Fprintln(w, escape.String(line))
		}
		return
	}
	for _, text := range types.Notes {
		Note(w, "%s", text)
	}
}

package command

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/spf13/pflag"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/decode/infer"
	"github.com/rbtool/rbtool/internal/escape"
	"github.com/rbtool/rbtool/internal/stream"
	"github.com/rbtool/rbtool/internal/usertypes"
)

// TypeOptions are the flags that say how records are decoded.
type TypeOptions struct {
	Names    []string
	from     []string // values of --btf
	structs  []string // values of --struct
	NoDecode bool
	Explain  bool
	object   string // what Suggest names
	// Host is for Find to take for the programs of the host, for several rings; nil to read them.
	Host *infer.Host
}

// Flags adds the flags to f, except --explain.
func (o *TypeOptions) Flags(f *pflag.FlagSet) {
	f.StringSliceVar(&o.Names, "type", nil, "decode records as types of this `NAME`; several are distinguished by their first enum or their length")
	f.StringSliceVar(&o.from, "btf", nil, "read types from `FILE` (BTF, ELF, or an executable with a BPF object inside), prog:ID or kernel; may be repeated")
	f.StringArrayVar(&o.structs, "struct", nil, "decode records as a struct in `C`: FILE.h[:NAME], or text such as 'struct event { u32 pid; }'; several as for --type")
	f.BoolVar(&o.NoDecode, "no-decode", false, "show records in hex")
}

// ExplainFlag adds the flag --explain, for commands that call [TypeOptions.Report].
func (o *TypeOptions) ExplainFlag(f *pflag.FlagSet) {
	f.BoolVar(&o.Explain, "explain", false, "print to stderr how the types of records were found, and how certain they are")
}

// Check returns a usage error if flags contradict each other. command is the name in the error.
func (o *TypeOptions) Check(command string) error {
	if err := o.checkStructs(command); err != nil {
		return err
	}
	switch {
	case o.NoDecode && o.Explain:
		return Usagef("%s: --explain does not go with --no-decode", command)
	case o.NoDecode && (len(o.Names) > 0 || len(o.from) > 0):
		return Usagef("%s: --no-decode does not go with --type or --btf", command)
	}
	for _, from := range o.from {
		if err := stream.CheckBTF(from); err != nil {
			return Usagef("%s: --btf %s: %w", command, from, err)
		}
	}
	return nil
}

// CheckNamed is Check for values that no program describes: --type and --btf go together.
func (o *TypeOptions) CheckNamed(command string) error {
	switch {
	case len(o.Names) > 0 && len(o.from) == 0:
		return Usagef("%s: --type needs --btf FILE|prog:ID|kernel, to find the type", command)
	case len(o.Names) == 0 && len(o.from) > 0:
		return Usagef("%s: --btf needs --type NAME", command)
	}
	return o.Check(command)
}

// checkStructs returns a usage error for a wrong --struct, and for flags that contradict it.
func (o *TypeOptions) checkStructs(command string) error {
	switch {
	case len(o.structs) == 0:
		return nil
	case o.NoDecode:
		return Usagef("%s: --no-decode does not go with --struct", command)
	case len(o.Names) > 0 || len(o.from) > 0:
		return Usagef("%s: --struct names the types by itself: it does not go with --type or --btf", command)
	}
	return CheckStructs(command, o.structs...)
}

// CheckStructs returns a usage error if the C text of a --struct is wrong. It does not read files.
func CheckStructs(command string, values ...string) error {
	for _, value := range values {
		if !stream.IsDeclaration(value) {
			continue
		}
		if _, err := stream.FindStructs(value); err != nil {
			return Usagef("%s: %w", command, err)
		}
	}
	return nil
}

// Suggest names the object that the programs of the rings are of. Its types count as those of --btf, and the types that the user
// remembers do not.
func (o *TypeOptions) Suggest(object string) { o.object = object }

// Named reports whether --type or --struct names types.
func (o *TypeOptions) Named() bool { return len(o.Names) > 0 || len(o.structs) > 0 }

// Find returns the types of the records of m: those that --type or --struct names, otherwise those that it finds
// out, with the help of --btf. Without flags, the types that the user remembers count first.
func (o *TypeOptions) Find(m *ebpf.Map) (stream.Types, error) {
	if o.NoDecode {
		return stream.Types{}, nil
	}
	if len(o.structs) > 0 {
		t, err := o.Replace(nil)
		if err == nil {
			t.AddMeanings(m, o.Host)
		}
		return t, err
	}
	from := o.from
	if o.object != "" {
		from = append([]string{o.object}, from...)
	}
	sources, err := stream.LoadSources(from)
	switch {
	case err != nil:
		return stream.Types{}, err
	case len(o.Names) > 0:
		t, err := stream.FindNamedTypes(m, o.Names, sources, o.Host)
		if err == nil {
			t.AddMeanings(m, o.Host)
		}
		if errors.Is(err, decode.ErrNotFound) {
			err = WithHint(err, "--struct gives a type as C; --explain without --type says what is known of the records")
		}
		return t, err
	}
	found, err := stream.FindTypes(m, sources, o.Host)
	if file, noHome := usertypes.Find(); err == nil && noHome == nil && len(from) == 0 {
		found.Prefer(m, file)
	}
	return found, err
}

// Replace returns the types that --type or --struct names, none for --no-decode, or those of a capture if neither is given.
func (o *TypeOptions) Replace(captured *decode.Set) (t stream.Types, err error) {
	switch {
	case o.NoDecode:
		return t, nil
	case o.Named():
		found, err := o.Load()
		if err != nil {
			return t, err
		}
		if len(o.structs) > 0 {
			t.Set, t.Explanation, err = stream.StructSet(found)
			return t, err
		}
		if t.Set, t.Explanation, err = stream.SetOf(found); err == nil {
			t.Keep(captured, found)
		}
		return t, err
	case captured != nil:
		t.Set, t.Explanation = captured, []string{"the file says the types: records are " + captured.String()}
	default:
		t.Explanation = []string{"records are shown in hex: the file has no types"}
	}
	return t, nil
}

// Load returns the types that --struct names, or those that --type names from what --btf names.
func (o *TypeOptions) Load() ([]stream.Named, error) {
	if len(o.structs) > 0 {
		found, err := stream.FindStructs(o.structs...)
		if errors.Is(err, fs.ErrNotExist) && !slices.ContainsFunc(o.structs, func(s string) bool { return strings.ContainsAny(s, "./") }) {
			err = WithHint(err, "--struct takes C, such as 'struct event { u32 pid; }', or FILE.h; --type takes the name of a type")
		}
		return found, err
	}
	sources, err := stream.LoadSources(o.from)
	if err != nil {
		return nil, err
	}
	return stream.FindNamed(o.Names, sources, false)
}

// Report prints how the types are known if --explain is given, otherwise only what is uncertain.
func (o *TypeOptions) Report(w io.Writer, types stream.Types) { o.ReportOf(w, "", types) }

// ReportOf is Report for one of several rings, whose name begins the lines.
func (o *TypeOptions) ReportOf(w io.Writer, ring string, types stream.Types) {
	if ring != "" {
		ring += ": "
	}
	if o.Explain && len(types.Explanation) > 0 {
		for _, line := range types.Explanation {
			fmt.Fprintln(w, escape.String(ring+line))
		}
		return
	}
	for _, text := range types.Notes {
		Note(w, "%s%s", ring, text)
	}
}

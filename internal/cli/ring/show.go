package ring

import (
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/near"
	"github.com/rbtool/rbtool/internal/stream"
)

// showOptions are the flags of tail and replay that say how records are shown.
type showOptions struct {
	output *command.Choice
	fields []string
	full   bool
	bare   bool // no names of columns
	int64s *command.Choice
}

func (o *showOptions) flags(cmd *cobra.Command) {
	o.output = command.OutputFlag(cmd, stream.FormatNames()...)
	o.int64s = &command.Choice{Value: "number", Among: []string{"number", "string"}}
	f := cmd.Flags()
	f.StringSliceVar(&o.fields, "fields", nil, "show only these `FIELDS`, in this order, such as pid,comm,src.port")
	f.BoolVar(&o.full, "full", false, "show long strings, arrays and records of unknown type in full")
	command.NoHeaderFlag(f, &o.bare)
	f.Var(o.int64s, "json-int64", "print 64-bit integers in JSON as numbers, or as strings for readers that round numbers")
}

// check returns a usage error for flags that do not go with the output format.
func (o *showOptions) check(name string) error {
	switch format := o.output.Value; {
	case len(o.fields) > 0 && !stream.Decodes(format):
		return command.Usagef("%s: --fields does not go with --output %s", name, format)
	case o.full && format != stream.Text:
		return command.Usagef("%s: --full goes with --output text: other formats show all", name)
	case o.bare && format != stream.Text && format != stream.CSV:
		return command.Usagef("%s: --no-header goes with --output csv or text: %s has no header", name, format)
	case o.int64s.Value == "string" && format != stream.JSON && format != stream.JSONL:
		return command.Usagef("%s: --json-int64 goes with --output json", name)
	}
	return nil
}

// formats returns the formats of records of rings, which now have these types. With several rings, they show them.
func (o *showOptions) formats(name string, stdout io.Writer, several bool, types []*decode.Set) (*stream.Formats, error) {
	if err := o.checkFields(name, types...); err != nil {
		return nil, err
	}
	return stream.NewFormats(o.output.Value, o.options(stdout, command.Host()), several), nil
}

func (o *showOptions) options(stdout io.Writer, host decode.Host) stream.FormatOptions {
	return stream.FormatOptions{
		Width: command.TerminalWidth(stdout), Hint: "--full", NoHeader: o.bare,
		Print: decode.PrintOptions{Fields: o.fields, Host: host, Full: o.full, Int64Strings: o.int64s.Value == "string"},
	}
}

// checkFields returns a usage error for a field that none of the types has, and strips the "data." with which filters name
// fields, too. The time and the type of a record are always
// shown, so to name them is no error. types may be nil, and of rings that come later nothing is known.
func (o *showOptions) checkFields(name string, types ...*decode.Set) error {
	types = slices.DeleteFunc(types, func(t *decode.Set) bool { return t == nil })
	if len(o.fields) == 0 {
		return nil
	}
	if len(types) == 0 {
		return command.WithHint(command.Usagef("%s: --fields: the records have no known type, so no fields", name),
			"--struct or --type gives their type; --explain without --fields says why it is not known")
	}
	known := append([]string{"time", "type"}, command.FieldNames(types)...) // these two are in front of all others, or members of the JSON object
	for i, field := range o.fields {
		if member, ok := strings.CutPrefix(field, "data."); ok && slices.Contains(known[2:], member) && !slices.Contains(known, field) {
			o.fields[i] = member // also in the options that have these fields already
			continue
		}
		if !slices.Contains(known, field) {
			return command.Usagef("%s: --fields: the records have no field %q%s", name, field, near.Hint(field, known))
		}
	}
	return nil
}

package command

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonv1 "github.com/go-json-experiment/json/v1"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rbtool/rbtool/internal/escape"
	"github.com/rbtool/rbtool/internal/near"
)

// Choice is a flag for one of several words.
type Choice struct {
	Value string
	Among []string
}

func (c *Choice) Set(text string) error {
	text = strings.ToLower(text)
	if same, ok := sameWords[text]; ok && slices.Contains(c.Among, same) {
		text = same
	}
	if !slices.Contains(c.Among, text) {
		return fmt.Errorf("not one of %s%s", strings.Join(c.Among, ", "), near.Hint(text, c.Among))
	}
	c.Value = text
	return nil
}

// sameWords are other words for those of choices.
var sameWords = map[string]string{"ndjson": "jsonl", "jsonlines": "jsonl", "yml": "yaml", "md": "markdown", "plain": "text", "pretty": "text"}

func (c *Choice) String() string { return c.Value }
func (c *Choice) Type() string   { return strings.Join(c.Among, "|") }

// OutputFlag adds --output to cmd. The first of the formats is the default.
func OutputFlag(cmd *cobra.Command, formats ...string) *Choice {
	c := &Choice{Value: formats[0], Among: formats}
	cmd.Flags().VarP(c, "output", "o", "print in this format")
	if slices.Contains(formats, "json") {
		f := cmd.Flags().VarPF((*jsonFlag)(c), "json", "j", "same as -o json")
		f.NoOptDefVal = "true"
		f.Hidden = true // bpftool and ip have it
	}
	return c
}

// NoHeaderFlag adds --no-header to f, for commands that print one table. It sets *noHeader.
func NoHeaderFlag(f *pflag.FlagSet, noHeader *bool) {
	f.BoolVar(noHeader, "no-header", false, "leave the names of the columns out")
}

// jsonFlag sets a format to JSON.
type jsonFlag Choice

func (j *jsonFlag) Set(text string) error {
	on, err := strconv.ParseBool(text)
	if err != nil {
		return errors.New("not true or false")
	}
	if on {
		j.Value = "json"
	}
	return nil
}

func (j *jsonFlag) String() string   { return "false" }
func (j *jsonFlag) Type() string     { return "bool" }
func (j *jsonFlag) IsBoolFlag() bool { return true }

// PrintJSON writes v as an indented JSON document.
func PrintJSON(w io.Writer, v any) error { return writeJSON(w, v, jsontext.WithIndent("  ")) }

// PrintJSONLine writes v as JSON on one line.
func PrintJSONLine(w io.Writer, v any) error { return writeJSON(w, v) }

func writeJSON(w io.Writer, v any, opts ...json.Options) error {
	doc, err := AppendJSON(nil, v, opts...)
	if err == nil {
		_, err = w.Write(append(doc, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// AppendJSON appends v as encoding/json encodes it, with two differences: strings that are not UTF-8 are
// written as [escape.AppendJSONString] writes them, and unprintable runes are escaped.
func AppendJSON(dst []byte, v any, opts ...json.Options) ([]byte, error) {
	asBytes := json.MarshalToFunc(func(enc *jsontext.Encoder, s string) error {
		if utf8.ValidString(s) {
			return errors.ErrUnsupported // let the default encoder encode s
		}
		return enc.WriteValue(escape.AppendJSONString(nil, []byte(s)))
	})
	opts = append([]json.Options{jsonv1.DefaultOptionsV1(), json.WithMarshalers(asBytes)}, opts...)
	doc, err := json.Marshal(v, opts...)
	if err != nil {
		return dst, err
	}
	return escape.AppendJSON(dst, doc), nil
}

// PrintTable writes rows in aligned columns. It escapes the cells: they then contain no newlines, and no
// bytes with a meaning for a tabwriter.
func PrintTable(w io.Writer, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(tw, "\t")
			}
			fmt.Fprint(tw, escape.String(cell))
		}
		fmt.Fprintln(tw)
	}
	if err := tw.Flush(); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// Note writes a note on a line. Unprintable characters are escaped.
func Note(w io.Writer, format string, args ...any) {
	fmt.Fprintf(w, "note: %s\n", escape.String(fmt.Sprintf(format, args...)))
}

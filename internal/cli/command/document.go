package command

import (
	"encoding/csv"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/rbtool/rbtool/internal/escape"
	"github.com/rbtool/rbtool/internal/stream"
)

// The formats in which commands print lists besides "table".
const (
	formatJSON  = "json"  // a document
	formatJSONL = "jsonl" // an object of the list a line
	formatYAML  = "yaml"
	formatCSV   = "csv"
)

// ListFormats are the formats of a [List]. The first is the default.
func ListFormats() []string { return []string{"table", formatJSON, formatJSONL, formatYAML, formatCSV} }

// DocumentFormats are the formats of what a command shows about one object.
func DocumentFormats() []string { return []string{"table", formatJSON, formatYAML} }

// List is what a command lists.
type List struct {
	Document any // as JSON and YAML
	Objects  any // a slice with the objects of the list, as JSON lines
	// Rows returns the table and, for programs, with sizes in bytes, the CSV. The first row has the names of the columns.
	Rows func(forPrograms bool) [][]string
	// NoHeader leaves the names of the columns out.
	NoHeader bool
	// Stream says that the list is one of several: JSON is then a document a line, and a document of YAML begins with ---.
	Stream bool
}

// Print writes the list in one of [ListFormats].
func (l *List) Print(w io.Writer, format string) error {
	switch format {
	case formatJSONL:
		return printLines(w, l.Objects)
	case formatCSV:
		rows := l.Rows(true)
		for i, name := range rows[0] {
			rows[0][i] = strings.TrimSuffix(strings.ToLower(name), "%")
		}
		return printCSV(w, rows[l.first():])
	case formatJSON, formatYAML:
		if l.Stream {
			return printOneOf(w, format, l.Document)
		}
		return PrintDocument(w, format, l.Document)
	}
	return PrintTable(w, l.Rows(false)[l.first():])
}

// printOneOf writes a document of a stream.
func printOneOf(w io.Writer, format string, v any) error {
	if format == formatJSON {
		return PrintJSONLine(w, v)
	}
	if _, err := io.WriteString(w, "---\n"); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return PrintDocument(w, format, v)
}

// first returns the index of the first row that is printed.
func (l *List) first() int {
	if l.NoHeader {
		return 1
	}
	return 0
}

// PrintDocument writes v as JSON or YAML.
func PrintDocument(w io.Writer, format string, v any) error {
	if format != formatYAML {
		return PrintJSON(w, v)
	}
	text, err := AppendYAML(nil, v)
	if err == nil {
		_, err = w.Write(text)
	}
	if err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// AppendYAML appends v as a YAML document, with the members and numbers that [AppendJSON] gives it.
func AppendYAML(dst []byte, v any) ([]byte, error) {
	doc, err := AppendJSON(nil, v)
	if err != nil {
		return dst, err
	}
	return stream.AppendYAML(dst, doc)
}

// printLines writes each element of a slice as JSON on a line.
func printLines(w io.Writer, slice any) error {
	list := reflect.ValueOf(slice)
	for i := range list.Len() {
		if err := PrintJSONLine(w, list.Index(i).Interface()); err != nil {
			return err
		}
	}
	return nil
}

// printCSV writes rows as CSV. It escapes unprintable characters in the cells.
func printCSV(w io.Writer, rows [][]string) error {
	out := csv.NewWriter(w)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = escape.String(cell)
		}
		if err := out.Write(cells); err != nil {
			return fmt.Errorf("write output: %w", err)
		}
	}
	out.Flush()
	if err := out.Error(); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

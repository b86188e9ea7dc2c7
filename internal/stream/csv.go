package stream

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"slices"
	"strings"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/escape"
)

// csvFormat shows each record as a line of CSV, below a line with the names of the columns: the time, the ring if there are
// several, the type, the fields, and what has no type in hex. The fields are those of Print.Fields, otherwise those of all
// types. Without Print.Fields, records of several rings have all their fields in one column, as JSON: their types differ.
func csvFormat(o *FormatOptions) Format {
	all := *o
	all.Print.Fields = nil
	asJSON, fields := jsonFormat(&all), o.Print.Fields
	if fields == nil && o.rings == nil {
		fields = leaves(o.Types)
	}
	asOne := fields == nil && o.rings != nil
	header := columns(fields, asOne, o.rings != nil, o.Print.Fields == nil)
	return func(dst []byte, rec *Record) []byte {
		b := bytes.NewBuffer(dst)
		out := csv.NewWriter(b)
		if !*o.begun {
			*o.begun = true
			if !o.NoHeader {
				out.Write(header) // a bytes.Buffer takes all
			}
		}
		var line struct {
			Time, Type, Hex string
			Ring, Data      json.RawMessage
		}
		if json.Unmarshal(asJSON(nil, rec), &line) != nil {
			return dst // AppendJSON writes JSON
		}
		row := make([]string, 0, len(header))
		row = append(row, line.Time)
		if o.rings != nil {
			row = append(row, scalar(line.Ring))
		}
		row = append(row, line.Type)
		if asOne {
			row = append(row, string(line.Data))
		} else {
			row = append(row, values(line.Data, fields)...)
		}
		if o.Print.Fields == nil {
			row = append(row, line.Hex)
		}
		for i := range row {
			row[i] = escape.String(row[i])
		}
		out.Write(row)
		out.Flush()
		return b.Bytes()
	}
}

// chosenColumns returns the fields that have columns: each once, and no time and type that only the columns of all records show.
func chosenColumns(fields []string, rings []Shown) []string {
	chosen := []string{} // not nil, which stands for all fields
	for _, f := range fields {
		own := func(s Shown) bool { return slices.Contains(leaves(s.Types), f) }
		if (f == "time" || f == "type") && !slices.ContainsFunc(rings, own) || slices.Contains(chosen, f) {
			continue
		}
		chosen = append(chosen, f)
	}
	return chosen
}

// columns returns the names of the columns.
func columns(fields []string, asOne, ring, hex bool) []string {
	names := []string{"time"}
	if ring {
		names = append(names, "ring")
	}
	names = append(names, "type")
	if asOne {
		names = append(names, "data")
	}
	for _, f := range fields {
		if slices.Contains(names, f) {
			f = "data." + f // a field of the record with the name of a column
		}
		names = append(names, escape.String(f))
	}
	if hex {
		names = append(names, "hex")
	}
	return names
}

// leaves returns the names of the fields of types that are no structs, each once. types may be nil.
func leaves(types *decode.Set) (names []string) {
	if types == nil {
		return nil
	}
	for _, c := range types.Codecs() {
		for _, f := range c.Fields() {
			if name := strings.Join(f.Path, "."); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// values returns the values of fields in a JSON object, "" for those that it does not have.
func values(object json.RawMessage, fields []string) []string {
	list := make([]string, len(fields))
	for i, field := range fields {
		value := object
		for name := range strings.SplitSeq(field, ".") {
			var members map[string]json.RawMessage
			if json.Unmarshal(value, &members) != nil {
				value = nil
				break
			}
			value = members[name]
		}
		list[i] = scalar(value)
	}
	return list
}

// scalar returns a JSON value as a cell: a string without quotes, and other values as they are.
func scalar(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) != nil {
		return string(value) // a number, or a list
	}
	return text
}

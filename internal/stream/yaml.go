package stream

import (
	"bytes"

	"go.yaml.in/yaml/v3"

	"github.com/rbtool/rbtool/internal/escape"
)

// AppendYAML appends a JSON document as YAML, with the same members and numbers.
func AppendYAML(dst, doc []byte) ([]byte, error) {
	var node yaml.Node
	if err := yaml.Unmarshal(doc, &node); err != nil { // JSON is YAML
		return dst, err
	}
	setBlock(&node)
	b := bytes.NewBuffer(dst)
	enc := yaml.NewEncoder(b)
	enc.SetIndent(2)
	if err := enc.Encode(&node); err != nil {
		return dst, err
	}
	if err := enc.Close(); err != nil {
		return dst, err
	}
	return b.Bytes(), nil
}

// setBlock removes the style of JSON from a YAML document, except from empty lists and objects, and from strings in which
// the output escapes characters: only in quotes are \u202e and the like escapes.
func setBlock(n *yaml.Node) {
	if len(n.Content) > 0 || n.Kind == yaml.ScalarNode && escape.String(n.Value) == n.Value {
		n.Style = 0
	}
	for _, c := range n.Content {
		setBlock(c)
	}
}

// yamlFormat shows each record as a YAML document.
func yamlFormat(o *FormatOptions) Format {
	asJSON := jsonFormat(o)
	return func(dst []byte, rec *Record) []byte {
		line := asJSON(nil, rec)
		dst = append(dst, "---\n"...)
		text, err := AppendYAML(dst, line)
		if err != nil {
			return append(dst, line...) // JSON is YAML, too
		}
		return text
	}
}

package command

import (
	"strings"
	"testing"
)

func TestListFormats(t *testing.T) {
	type object struct {
		ID    uint64   `json:"id"`
		Name  string   `json:"name"`
		Pins  []string `json:"pins"`
		Share float64  `json:"share"`
	}
	objects := []object{
		{1 << 63, "no: true", []string{"/a b", "-"}, 0.5},
		{2, "a\x1b[2J\n\"\u202e", nil, 1},
	}
	for format, want := range map[string]string{
		"table": "ID  SIZE\n1   64KiB\n2   -\n",
		"json":  "{\n  \"maps\": [\n    {\n      \"id\": 9223372036854775808,",
		"jsonl": `{"id":9223372036854775808,"name":"no: true","pins":["/a b","-"],"share":0.5}` + "\n" + `{"id":2,"name":"a\u001b[2J\n\"\u202e","pins":null,"share":1}` + "\n",
		"csv":   "id,size\n1,65536\n2,\"a,\"\"b\"\"\"\n",
		"yaml": `maps:
  - id: 9223372036854775808
    name: 'no: true'
    pins:
      - /a b
      - '-'
    share: 0.5
  - id: 2
    name: "a\e[2J\n\"` + "\u202e" + `"
    pins: null
    share: 1
`,
	} {
		l := List{
			Document: map[string]any{"maps": objects}, Objects: objects,
			Rows: func(forPrograms bool) [][]string {
				if forPrograms {
					return [][]string{{"ID", "SIZE%"}, {"1", "65536"}, {"2", `a,"b"`}}
				}
				return [][]string{{"ID", "SIZE"}, {"1", "64KiB"}, {"2", "-"}}
			},
		}
		var b strings.Builder
		if err := l.Print(&b, format); err != nil || !strings.HasPrefix(b.String(), want) {
			t.Errorf("%s: %v\n%q\nwant\n%q", format, err, b.String(), want)
		}
		l.NoHeader = true
		b.Reset()
		if err := l.Print(&b, format); err != nil || strings.Contains(strings.ToLower(b.String()), "id,size") || strings.Contains(b.String(), "SIZE") {
			t.Errorf("%s without a header: %v\n%s", format, err, b.String())
		}
	}
}

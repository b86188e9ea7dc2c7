package stream

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/decode"
)

// CSV begins with the names of the columns, once; YAML is a document a record.
func TestFormatsForOtherTools(t *testing.T) {
	event, other := setOf(t, structOf("event", u16, "a", "type")), setOf(t, structOf("other", u16, "c"))
	const time = "2026-01-02T03:04:05.000006007Z"
	first, second := Shown{Name: "r", ID: 7, Types: event}, Shown{Name: "\"\xff", ID: 8, Types: other}
	for _, tt := range []struct {
		rule, name string
		fields     []string
		rings      []Shown
		want       []string
	}{
		{"all fields", CSV, nil, []Shown{first}, []string{
			"time,type,a,data.type,hex", time + ",event,1,2,", time + ",event,3,4,", time + ",,,,05"}},
		{"some fields", CSV, []string{"type", "nope"}, []Shown{first}, []string{
			"time,type,data.type,nope", time + ",event,2,", time + ",event,4,", time + ",,,"}},
		{"time and type are columns of all records, and a field is one", CSV, []string{"time", "c", "type", "c"}, []Shown{{Name: "r", Types: other}}, []string{
			"time,type,c", time + ",other,1", time + ",other,3", time + ",,"}},
		{"several rings", CSV, nil, []Shown{first, second}, []string{
			"time,ring,type,data,hex", time + `,r,event,"{""a"":1,""type"":2}",`, time + `,"[34,255]",other,"{""c"":3}",`, time + ",r,,,05"}},
		{"some fields of several rings", CSV, []string{"a"}, []Shown{first, second}, []string{
			"time,ring,type,a", time + ",r,event,1", time + `,"[34,255]",other,`, time + ",r,,"}},
		{"no types", CSV, nil, []Shown{{Name: "r"}}, []string{
			"time,type,hex", time + ",,01000200", time + ",,03000400", time + ",,05"}},
		{"documents", YAML, []string{"a"}, []Shown{first}, []string{
			"---", "seq: 1", "pos: 0", "len: 4", "time: \"" + time + `"`, "type: event", "data:", "  a: 1",
			"---", "seq: 2", "pos: 0", "len: 4", "time: \"" + time + `"`, "type: event", "data:", "  a: 3",
			"---", "seq: 3", "pos: 0", "len: 1", "time: \"" + time + `"`, `hex: "05"`}},
		{"lines", JSONL, nil, []Shown{{Name: "r"}}, []string{
			`{"seq":1,"pos":0,"len":4,"time":"` + time + `","hex":"01000200"}`,
			`{"seq":2,"pos":0,"len":4,"time":"` + time + `","hex":"03000400"}`,
			`{"seq":3,"pos":0,"len":1,"time":"` + time + `","hex":"05"}`}},
	} {
		t.Run(tt.rule, func(t *testing.T) {
			f := NewFormats(tt.name, FormatOptions{Print: decode.PrintOptions{Fields: tt.fields}}, len(tt.rings) > 1)
			for i, s := range tt.rings {
				f.Set(i, s)
			}
			out := f.Append(nil, record(1, 0, 1, 0, 2, 0))
			out = f.Append(out, ofRing(len(tt.rings)-1, record(2, 0, 3, 0, 4, 0)))
			out = f.Append(out, record(3, 0, 5))
			if diff := cmp.Diff(tt.want, strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

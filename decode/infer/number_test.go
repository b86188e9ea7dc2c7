package infer

import (
	"fmt"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/recordflow"
)

func TestNumbers(t *testing.T) {
	site := func(line string) *Site {
		return &Site{Size: 4, flow: &recordflow.Site{
			Call: recordflow.Reserve, Min: 4, Max: 4, Line: recordflow.Line{Text: line}, Writes: []recordflow.Write{{Size: 4}},
		}}
	}
	for line, want := range map[string]string{
		"": "value __u32 0", "value = bpf_ringbuf_reserve(&rb, sizeof(int), 0);": "value int 1",
		"__u32 *pid = bpf_ringbuf_reserve(&rb, sizeof(*pid), 0);":       "pid __u32 0",
		"unsigned int *n = bpf_ringbuf_reserve(&rb, sizeof( u32 ), 0);": "n unsigned int 0",
		"s32 *n = bpf_ringbuf_reserve(&rb, 4, 0);":                      "n s32 1",
	} {
		s := site(line)
		s.number()
		if s.Type == nil {
			t.Errorf("%q: no type", line)
			continue
		}
		m := s.Type.(*btf.Struct).Members[0]
		if got := fmt.Sprint(m.Name, " ", m.Type.TypeName(), " ", int(m.Type.(*btf.Int).Encoding)); got != want {
			t.Errorf("%q: %s, want %s", line, got, want)
		}
	}
	halves := recordflow.Write{Off: 2, Size: 2}
	several := site("")
	several.flow.Writes = append(several.flow.Writes, halves)
	if several.number(); several.Type != nil {
		t.Error("a store to a part makes no number")
	}
	named := site("int *n = bpf_ringbuf_reserve(&rb, sizeof(*n), 0);")
	named.flow.Writes = []recordflow.Write{halves}
	if named.number(); named.Type == nil {
		t.Error("a line that names a number makes none")
	}
}

package infer

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"
)

func TestCallsThatAreAlike(t *testing.T) {
	r := &Result{Sites: []*Site{{Program: "program 1 (p)", Call: "bpf_ringbuf_reserve", More: 2, Size: 8, Certainty: Certain, Why: "known"}}}
	if got, want := r.Explain()[0], "program 1 (p): bpf_ringbuf_reserve, 3 calls, of 8 bytes: certain: known"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAdvice(t *testing.T) {
	known := &btf.Struct{Name: "opened", Size: 8}
	tests := []struct {
		rule  string
		sites []*Site
		name  string // "" if nothing is to be done
		edit  string // of the program
	}{
		{"all certain", []*Site{{Type: known, Certainty: Certain}}, "", ""},
		{"a likely type", []*Site{{Type: known, Certainty: Likely}}, "opened", "sizeof(struct opened)"},
		{"a type that only a line names", []*Site{{Type: known, Certainty: Likely}, {lacks: "closed"}}, "closed", "const struct closed *unused_closed "},
		{"a reconstructed type", []*Site{{Type: &btf.Struct{Name: "record"}, KnownBy: reconstructed, Certainty: Likely}}, "event", "const struct event *unused_event "},
		{"an unknown type", []*Site{{Type: known, Certainty: Certain}, {}}, "event", "const struct event *unused_event "},
	}
	for _, tt := range tests {
		said := strings.Join((&Result{Sites: tt.sites}).Explain(), "\n")
		for _, want := range []string{"--type " + tt.name + " --btf FILE", tt.edit} {
			if strings.Contains(said, want) != (tt.name != "" || want == "") {
				t.Errorf("%s: %s", tt.rule, said)
			}
		}
	}
}

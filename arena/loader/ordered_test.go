package loader

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
)

func TestBarriersDependOnTheMachine(t *testing.T) {
	tests := []struct {
		rule      string
		variables []string
		arch      string
		ordered   byte // the value of arena_ordered
		refused   bool
	}{
		{"no barriers on amd64", []string{baseVariable, orderedVariable}, "amd64", 1, false},
		{"barriers on arm64", []string{baseVariable, orderedVariable}, "arm64", 0, false},
		{"older headers on amd64", []string{baseVariable}, "amd64", 0, false},
		{"older headers on arm64", []string{baseVariable}, "arm64", 0, true},
		{"other headers on arm64", nil, "arm64", 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			spec := &ebpf.CollectionSpec{Variables: map[string]*ebpf.VariableSpec{}}
			for _, name := range tt.variables {
				spec.Variables[name] = &ebpf.VariableSpec{Name: name, SectionName: ".rodata", Value: make([]byte, 8)}
			}
			if err := setOrdered(spec, tt.arch); errors.Is(err, ebpf.ErrNotSupported) != tt.refused {
				t.Errorf("error %v, refused: want %t", err, tt.refused)
			}
			if v := spec.Variables[orderedVariable]; v != nil && v.Value[0] != tt.ordered {
				t.Errorf("%s is %d, want %d", orderedVariable, v.Value[0], tt.ordered)
			}
		})
	}
}

package container

import (
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
)

func TestTablesNeedProvenOrder(t *testing.T) {
	tests := []struct {
		rule string
		err  error
		says string // part of the error's text; empty if there is no error
	}{
		{"a table on amd64", checkOrder("amd64"), ""},
		{"a table on arm64", checkOrder("arm64"), ""},
		{"a table on riscv64", checkOrder("riscv64"), "tables on riscv64"},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			if tt.says == "" {
				if tt.err != nil {
					t.Errorf("refused: %v", tt.err)
				}
				return
			}
			if !errors.Is(tt.err, ebpf.ErrNotSupported) || !strings.Contains(tt.err.Error(), tt.says) {
				t.Errorf("error %v, want one that says %q", tt.err, tt.says)
			}
		})
	}
}

package arenamem

import (
	"errors"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
)

func TestHeapsNeedPagesOf4KiB(t *testing.T) {
	tests := []struct {
		rule string
		err  error
		says string // part of the error's text; empty if there is no error
	}{
		{"a heap in pages of 4 KiB", checkPages(4096), ""},
		{"a heap in pages of 16 KiB", checkPages(16 << 10), "pages of 16384 bytes"},
		{"a heap in pages of 64 KiB", checkPages(64 << 10), "pages of 65536 bytes"},
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

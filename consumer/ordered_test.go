package consumer

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/syscall"
)

func TestOverwriteModeIsRefusedWhereItIsUnproven(t *testing.T) {
	tests := []struct {
		rule    string
		flags   uint32
		arch    string
		refused bool
	}{
		{"overwrite mode on amd64", mapflag.RBOverwrite, "amd64", false},
		{"overwrite mode on s390x", mapflag.RBOverwrite, "s390x", false},
		{"overwrite mode on arm64, where membarrier settles stores", mapflag.RBOverwrite, "arm64", syscall.CheckMembarrier() != nil},
		{"overwrite mode on riscv64", mapflag.RBOverwrite, "riscv64", true},
		{"another ring on riscv64", 0, "riscv64", false},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			if err := checkOverwrite(tt.flags, tt.arch); errors.Is(err, ebpf.ErrNotSupported) != tt.refused {
				t.Errorf("error %v, refused: want %t", err, tt.refused)
			}
		})
	}
}

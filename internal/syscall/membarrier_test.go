package syscall_test

import (
	"testing"

	"github.com/rbtool/rbtool/internal/syscall"
)

func TestMembarrier(t *testing.T) {
	if err := syscall.CheckMembarrier(); err != nil {
		t.Fatal(err) // all kernels of the matrix are built with CONFIG_MEMBARRIER
	}
	if err := syscall.Membarrier(); err != nil {
		t.Error(err)
	}
}

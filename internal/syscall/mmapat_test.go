package syscall_test

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/syscall"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMmapAt(t *testing.T) {
	testenv.NoLeaks(t)
	page := uintptr(os.Getpagesize())
	fd, err := unix.MemfdCreate("mmap", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, int64(page)); err != nil {
		t.Fatal(err)
	}
	const at = 0x1234_5678_0000
	addr, err := syscall.MmapAt(fd, at, page, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		t.Fatal(err)
	}
	if uintptr(addr) != at {
		t.Errorf("mapped at %p", addr)
	}
	*(*byte)(addr) = 7
	if _, err := syscall.MmapAt(fd, at, page, unix.PROT_READ); !errors.Is(err, unix.EEXIST) {
		t.Errorf("where something is mapped: %v", err)
	}
	if *(*byte)(addr) != 7 {
		t.Error("what was mapped is gone")
	}
	if err := syscall.Munmap(addr, page); err != nil {
		t.Error(err)
	}
}

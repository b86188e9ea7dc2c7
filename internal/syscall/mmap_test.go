package syscall

import (
	"errors"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMmap(t *testing.T) {
	testenv.NoLeaks(t)
	page := uintptr(os.Getpagesize())
	fd, err := unix.MemfdCreate("mmap", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.Pwrite(fd, []byte("second page"), int64(page)); err != nil {
		t.Fatal(err)
	}

	addr, err := Mmap(fd, int64(page), page, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		t.Fatal(err)
	}
	mem := unsafe.Slice((*byte)(addr), page)
	if got := string(mem[:11]); got != "second page" {
		t.Errorf("the mapping begins with %q", got)
	}
	copy(mem, "shared") // MAP_SHARED: the file changes
	got := make([]byte, 11)
	if _, err := unix.Pread(fd, got, int64(page)); err != nil || string(got) != "shared page" {
		t.Errorf("the file has %q, %v", got, err)
	}
	if err := Munmap(addr, page); err != nil {
		t.Error(err)
	}
	if _, err := Mmap(-1, 0, page, unix.PROT_READ); !errors.Is(err, unix.EBADF) {
		t.Errorf("map of no descriptor: %v", err)
	}
}

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
	const at = 0x1234_5678_9000
	addr, err := MmapAt(fd, at, page, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		t.Fatal(err)
	}
	if uintptr(addr) != at {
		t.Errorf("mapped at %p", addr)
	}
	*(*byte)(addr) = 7
	if _, err := MmapAt(fd, at, page, unix.PROT_READ); !errors.Is(err, unix.EEXIST) {
		t.Errorf("where something is mapped: %v", err)
	}
	if *(*byte)(addr) != 7 {
		t.Error("what was mapped is gone")
	}
	if err := Munmap(addr, page); err != nil {
		t.Error(err)
	}
}

package syscall_test

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/syscall"
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

	addr, err := syscall.Mmap(fd, int64(page), page, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		t.Fatal(err)
	}
	mem := unsafe.Slice((*byte)(addr), page)
	if got := string(mem[:11]); got != "second page" {
		t.Errorf("the mapping begins with %q", got)
	}
	copy(mem, "shared") // also changes the file: the mapping is MAP_SHARED
	got := make([]byte, 11)
	if _, err := unix.Pread(fd, got, int64(page)); err != nil || string(got) != "shared page" {
		t.Errorf("the file has %q, %v", got, err)
	}
	if err := syscall.Munmap(addr, page); err != nil {
		t.Error(err)
	}
	if _, err := syscall.Mmap(-1, 0, page, unix.PROT_READ); !errors.Is(err, unix.EBADF) {
		t.Errorf("map of no descriptor: %v", err)
	}
}

// A goroutine writes all the time while Replace replaces the memory. A fault would end
// the test process.
func TestReplaceUnderUse(t *testing.T) {
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
	rounds := uint64(2000)
	if testing.Short() {
		rounds = 200
	}
	for n := range rounds {
		addr, err := syscall.Mmap(fd, 0, page, unix.PROT_READ|unix.PROT_WRITE)
		if err != nil {
			t.Fatal(err)
		}
		word := (*atomic.Uint64)(addr)
		if got := word.Load(); got != n {
			t.Fatalf("the file has %d, want %d", got, n)
		}
		var stop atomic.Bool
		var writing, writer sync.WaitGroup
		writing.Add(1)
		writer.Go(func() {
			word.Store(n + 1)
			writing.Done()
			for !stop.Load() {
				word.Store(n + 1)
			}
		})
		writing.Wait()
		if err := syscall.Replace(addr, page); err != nil {
			t.Fatal(err)
		}
		word.Store(1 << 40) // must not change the file
		stop.Store(true)
		writer.Wait()
		if err := syscall.Munmap(addr, page); err != nil {
			t.Fatal(err)
		}
	}
}

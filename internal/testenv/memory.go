package testenv

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Memory is a file with the layout of a ring. Tests use it for contents that no kernel writes, or
// that the running kernel does not write. All of it is mapped writable.
//
// The data pages and their repetition are separate memory here; in a ring they are the same.
type Memory struct {
	FD   int
	Size uint64 // size of the data pages, without their repetition
	all  []byte
}

// NewMemory returns a Memory with size bytes of data; size is a multiple of the page size. The
// Memory is released when the test ends.
func NewMemory(tb testing.TB, size uint64) *Memory {
	tb.Helper()
	fd, err := unix.MemfdCreate("ring", unix.MFD_CLOEXEC)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { unix.Close(fd) })
	length := 2*os.Getpagesize() + 2*int(size)
	if err := unix.Ftruncate(fd, int64(length)); err != nil {
		tb.Fatal(err)
	}
	all, err := unix.Mmap(fd, 0, length, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { unix.Munmap(all) })
	return &Memory{FD: fd, Size: size, all: all}
}

// The positions may be accessed with plain and atomic loads and stores.

func (m *Memory) ConsumerPos() *uint64  { return m.word(0) }
func (m *Memory) ProducerPos() *uint64  { return m.word(os.Getpagesize()) }
func (m *Memory) PendingPos() *uint64   { return m.word(os.Getpagesize() + 8) }
func (m *Memory) OverwritePos() *uint64 { return m.word(os.Getpagesize() + 16) }

// Data returns the data pages and their repetition.
func (m *Memory) Data() []byte { return m.all[2*os.Getpagesize():] }

// Word returns the 8 bytes at offset in the data.
func (m *Memory) Word(offset uint64) *uint64 { return m.word(2*os.Getpagesize() + int(offset)) }

// SAFETY: the index expression checks that the word begins in the mapping, which ends at a page
// boundary. Offsets are multiples of 8.
func (m *Memory) word(offset int) *uint64 { return (*uint64)(unsafe.Pointer(&m.all[offset])) }

package testenv

import (
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Memory is a file laid out as a ring, for contents that no kernel writes, or not the running
// one. All of it is mapped writable.
//
// Unlike in a ring, the data pages and their repetition are separate memory.
type Memory struct {
	FD   int
	Size uint64 // of the data pages, without their repetition
	all  []byte
}

// NewMemory returns a Memory of size bytes of data, a multiple of the page size. It is released
// when the test ends.
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

// The positions, for plain and atomic access.

func (m *Memory) ConsumerPos() *uint64  { return m.word(0) }
func (m *Memory) ProducerPos() *uint64  { return m.word(os.Getpagesize()) }
func (m *Memory) PendingPos() *uint64   { return m.word(os.Getpagesize() + 8) }
func (m *Memory) OverwritePos() *uint64 { return m.word(os.Getpagesize() + 16) }

// Data returns the data pages and their repetition.
func (m *Memory) Data() []byte { return m.all[2*os.Getpagesize():] }

// Word returns the 8 bytes at offset in the data.
func (m *Memory) Word(offset uint64) *uint64 { return m.word(2*os.Getpagesize() + int(offset)) }

// SAFETY: indexing checks that the word begins in the mapping, which ends at a page boundary;
// offsets are multiples of 8.
func (m *Memory) word(offset int) *uint64 { return (*uint64)(unsafe.Pointer(&m.all[offset])) }

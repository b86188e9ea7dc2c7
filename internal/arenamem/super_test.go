package arenamem

import (
	"strings"
	"testing"
)

// formatted returns a heap as Format leaves it in an arena of 1 MiB, on a kernel with this page size.
func formatted(page uint64) *Heap {
	const base, size = FirstWindow, 1 << 20
	s := &Super{Magic: magic, Version: version, PageSize: uint32(page), Base: base, Size: size,
		HeapStart: headSize(page), HeapLimit: size}
	return &Heap{Mem: &Memory{Base: base, Size: size}, Super: s, Start: s.HeapStart, Limit: s.HeapLimit}
}

func TestPageSizes(t *testing.T) {
	sizes := []uint64{4 << 10, 16 << 10, 64 << 10}
	for i, page := range sizes {
		head := []uint64{8 << 10, 16 << 10, 64 << 10}[i]
		if got := headSize(page); got != head {
			t.Errorf("pages of %d bytes: the head has %d bytes, want %d", page, got, head)
		}
		for _, kernel := range sizes {
			err := formatted(page).check(kernel)
			if kernel == page {
				if err != nil {
					t.Errorf("pages of %d bytes: %v", page, err)
				}
			} else if err == nil || !strings.Contains(err.Error(), "page") {
				t.Errorf("heap for pages of %d bytes on a kernel with %d: error %v", page, kernel, err)
			}
		}
	}
}

// The first error is that of the page size, since size and limits depend on it.
func TestSmallArenaOfAnotherPageSize(t *testing.T) {
	h := formatted(4 << 10)
	h.Mem.Size, h.Super.Size, h.Super.HeapLimit, h.Limit = 16<<10, 16<<10, 16<<10, 16<<10
	const want = "heap was made for pages of 4096 bytes, this kernel has pages of 16384"
	if err := h.check(16 << 10); err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestTooSmallForAHeap(t *testing.T) {
	h := formatted(16 << 10)
	h.Mem.Size, h.Super.Size, h.Super.HeapLimit, h.Limit = 16<<10, 16<<10, 16<<10, 16<<10
	const want = "a heap needs 32768 bytes, the arena has 16384"
	if err := h.check(16 << 10); err == nil || err.Error() != want {
		t.Errorf("error %v, want %q", err, want)
	}
}

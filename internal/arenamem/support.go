package arenamem

import (
	"fmt"

	"github.com/rbtool/rbtool/internal/order"
)

// headersPageSize is ARENA_PAGE_SIZE of bpf/headers/arena.h, in bytes.
const headersPageSize = 4096

// checkPages refuses heaps if the kernel's pages have another size than programs are compiled for:
// these would look for the free lists elsewhere, and count pages wrongly.
func checkPages(size uint64) error {
	if size != headersPageSize {
		return fmt.Errorf("heaps in pages of %d bytes: %w: programs are compiled for %d (ARENA_PAGE_SIZE)",
			size, ErrNotSupported, headersPageSize)
	}
	return nil
}

// checkOrder refuses tables on machines that reorder loads: a reader's second load of the bucket,
// which proves the node unchanged, might come before the loads of the node.
func checkOrder(arch string) error {
	if !order.Total(arch) {
		return fmt.Errorf("tables on %s: %w: their readers rely on loads in program order, as on amd64", arch, ErrNotSupported)
	}
	return nil
}

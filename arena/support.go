package arena

import (
	"fmt"

	"github.com/rbtool/rbtool/internal/order"
)

// headersPageSize is ARENA_PAGE_SIZE of bpf/headers/arena.h, in bytes.
const headersPageSize = 4096

// checkPages refuses heaps where the kernel's pages have another size than programs take for it: they
// would look for the free lists elsewhere, and count pages wrongly.
func checkPages(size uint64) error {
	if size != headersPageSize {
		return fmt.Errorf("heaps in pages of %d bytes: %w: programs are compiled for %d (ARENA_PAGE_SIZE)",
			size, ErrNotSupported, headersPageSize)
	}
	return nil
}

// checkOrder refuses tables where loads may pass each other: the load by which a reader
// knows that a node did not change might come before those of the node.
func checkOrder(arch string) error {
	if !order.Total(arch) {
		return fmt.Errorf("tables on %s: %w: their readers rely on loads in program order, as on amd64", arch, ErrNotSupported)
	}
	return nil
}

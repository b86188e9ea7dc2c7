package arenamem

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// headersPageSize is ARENA_PAGE_SIZE of bpf/headers/arena.h, in bytes.
const headersPageSize = 4096

// checkPages refuses heaps if the kernel's page size is not ARENA_PAGE_SIZE, for which programs are
// compiled: programs would look for the free lists at another offset and miscount pages.
func checkPages(size uint64) error {
	if size != headersPageSize {
		return fmt.Errorf("heaps in pages of %d bytes: %w: programs are compiled for %d (ARENA_PAGE_SIZE)",
			size, ebpf.ErrNotSupported, headersPageSize)
	}
	return nil
}

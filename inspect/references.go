package inspect

import (
	"fmt"

	"github.com/cilium/ebpf"
)

// References counts what keeps the rings of the host, again and again. The first call of Count loads the iterator.
// One goroutine at a time can use it.
type References struct{ host *host }

// NewReferences returns References, which the caller must close.
func NewReferences() *References { return &References{newHost()} }

// Count returns for each ring and arena the number of what keeps it: open files, pins, programs and maps of
// maps (bpf_map.refcnt, kernel/bpf/syscall.c). A file counts once, whatever duplicates its descriptor or maps its memory.
// So a ring whose only reference is a file of the caller gets no records any more. A program that was unloaded may count
// until the kernel frees it. Count needs the kernel's iterator over maps, and CAP_BPF and CAP_PERFMON.
func (r *References) Count() (map[ebpf.MapID]uint64, error) {
	s, err := r.host.mapScanner()
	if err != nil {
		return nil, fmt.Errorf("count references: %w", err)
	}
	r.host.types = nil // the other iterators are not loaded
	if err := s.Scan(&r.host.scanned); err != nil {
		return nil, fmt.Errorf("count references: %w", err)
	}
	counts := make(map[ebpf.MapID]uint64)
	for _, e := range r.host.scanned.Entries {
		if e.References != nil {
			counts[e.ID] = *e.References
		}
	}
	return counts, nil
}

// Close unloads the iterator. It is idempotent.
func (r *References) Close() { r.host.close() }

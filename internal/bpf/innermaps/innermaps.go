// Package innermaps finds the maps in maps of maps.
//
// Before Linux 6.8 each lookup in a map of maps waits for a grace period of RCU, some 16 ms (kernel/bpf/syscall.c,
// bpf_map_copy_value: maybe_wait_bpf_programs): thousands of entries take a minute. Where lookups are that slow the map is
// read from the kernel's memory.
package innermaps

import (
	"errors"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/bpf/progreader"
	"github.com/rbtool/rbtool/internal/syscall"
)

// ErrSlow reports that the kernel takes too long to tell what a map holds.
var ErrSlow = errors.New("the kernel takes too long to tell what a map of maps holds: each lookup waits for RCU, as before Linux 6.8")

// Bounds of lookups.
const (
	slow   = 2 * time.Millisecond   // a lookup that takes so long waits for something; others take 1 µs
	budget = 100 * time.Millisecond // of all lookups that wait
)

// Reader reads maps of maps. The zero value is ready for use, by one goroutine at a time. The caller must call Close.
type Reader struct {
	memory *progreader.Reader // nil until it is needed, or if it cannot be had
	err    error              // why it cannot be had
	spent  time.Duration      // by lookups that wait
}

// Close frees what r has loaded. It is idempotent.
func (r *Reader) Close() {
	if r.memory != nil {
		r.memory.Close()
	}
}

// Of returns the ids of the maps in outer, a map of maps, at most limit of them. The error matches [ErrSlow] if it has not found
// all in time.
func (r *Reader) Of(outer *ebpf.Map, limit int) ([]ebpf.MapID, error) {
	if r.memory == nil && r.spent <= budget && !r.waits(outer) {
		return syscall.InnerMaps(outer, limit), nil
	}
	return r.ofSlow(outer, limit)
}

// waits reports whether lookups in a map wait.
func (r *Reader) waits(outer *ebpf.Map) bool {
	began := time.Now()
	_, _ = outer.LookupBytes(make([]byte, outer.KeySize())) // it waits whether there is such an entry or not
	took := time.Since(began)
	if took > slow {
		r.spent += took
	}
	return took > slow
}

// ofSlow is Of where lookups wait.
func (r *Reader) ofSlow(outer *ebpf.Map, limit int) (found []ebpf.MapID, err error) {
	if r.memory == nil && r.err == nil {
		r.memory, r.err = memory()
	}
	if r.memory != nil {
		info, err := syscall.MapInfoOf(outer)
		if err != nil {
			return nil, err
		}
		found, err = r.memory.Inner(info.ID)
		if !errors.Is(err, progreader.ErrNotPreallocated) {
			return found[:min(len(found), limit)], err
		}
	}
	var key []byte
	var id uint32 // user space reads the id (kernel/bpf/map_in_map.c, bpf_map_fd_sys_lookup_elem)
	began := time.Now()
	for it := outer.Iterate(); len(found) < limit; {
		if r.spent+time.Since(began) > budget {
			r.spent += time.Since(began)
			return found, ErrSlow
		}
		if !it.Next(&key, &id) {
			break // a map that changes can end it: it keeps the entries so far
		}
		found = append(found, ebpf.MapID(id))
	}
	r.spent += time.Since(began)
	return found, nil
}

// memory returns a reader of the kernel's memory that knows the maps of the host.
func memory() (*progreader.Reader, error) {
	k, err := progreader.New()
	if err != nil {
		return nil, err
	}
	if _, err := k.Programs(); err != nil {
		k.Close()
		return nil, err
	}
	return k, nil
}

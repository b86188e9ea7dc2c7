package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// types are the map types that this package describes.
var types = []ebpf.MapType{ebpf.RingBuf, ebpf.UserRingbuf, ebpf.Arena}

// maps opens the host's maps of the given types, or all maps if no types are given, one at a time in the order
// of their ids. It closes a map after the loop body. For a map that it cannot open it yields an error of type
// *mapError and goes on; any other error ends the loop.
func maps(types ...ebpf.MapType) iter.Seq2[*ebpf.Map, error] {
	return func(yield func(*ebpf.Map, error) bool) {
		ids, err := mapIDs()
		if err != nil {
			yield(nil, err)
			return
		}
		for m, err := range open(ids, types...) {
			if !yield(m, err) {
				return
			}
		}
	}
}

// open is maps for the maps with the given ids.
func open(ids []ebpf.MapID, types ...ebpf.MapType) iter.Seq2[*ebpf.Map, error] {
	return func(yield func(*ebpf.Map, error) bool) {
		for _, id := range ids {
			m, err := ebpf.NewMapFromID(id)
			if vanished(err) {
				continue
			}
			if err != nil {
				err = &mapError{id, adminReason(err)}
			} else if len(types) > 0 && !slices.Contains(types, m.Type()) {
				m.Close()
				continue
			}
			more := yield(m, err)
			m.Close() // m can be nil
			if !more {
				return
			}
		}
	}
}

// mapIDs lists the ids of all maps. The function maps calls it before it opens any map: new maps get higher
// ids, so a loop that also opens maps might never catch up with a process that keeps creating them.
func mapIDs() ([]ebpf.MapID, error) {
	var ids []ebpf.MapID
	var id ebpf.MapID
	for {
		var err error
		if id, err = ebpf.MapGetNextID(id); errors.Is(err, fs.ErrNotExist) {
			return ids, nil
		} else if err != nil {
			return nil, adminReason(err)
		}
		ids = append(ids, id)
	}
}

// vanished reports whether err means that a map or program does not exist any more. A file that does not exist
// means something else: cilium/ebpf reads /proc/self/fdinfo, and /proc might not be mounted.
func vanished(err error) bool {
	_, file := errors.AsType[*fs.PathError](err)
	return !file && errors.Is(err, fs.ErrNotExist)
}

// mapError reports why one map could not be opened.
type mapError struct {
	id  ebpf.MapID
	err error
}

func (e *mapError) Error() string { return fmt.Sprintf("map id:%d unknown: %v", e.id, e.err) }
func (e *mapError) Unwrap() error { return e.err }

// isMapError reports whether err concerns only one map.
func isMapError(err error) bool {
	var e *mapError
	return errors.As(err, &e)
}

// adminReason adds the missing capability to EPERM from bpf(2) commands that take an id
// (bpf_obj_get_next_id and bpf_map_get_fd_by_id in kernel/bpf/syscall.c).
func adminReason(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (needs CAP_SYS_ADMIN)", unix.EPERM)
	}
	return err
}

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

// maps opens the maps of the given types, or all maps if there are none, one at a time in the order of
// their ids. It closes a map after the loop body. A map that it cannot open is an error of type *mapError,
// after which the loop goes on; any other error ends it.
func maps(types ...ebpf.MapType) iter.Seq2[*ebpf.Map, error] {
	return func(yield func(*ebpf.Map, error) bool) {
		ids, err := mapIDs()
		if err != nil {
			yield(nil, err)
			return
		}
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
			m.Close() // nil is fine
			if !more {
				return
			}
		}
	}
}

// mapIDs lists the ids of all maps. New maps get higher ids, so maps calls it first: opening maps meanwhile
// could fall behind a process that keeps making them.
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

// vanished reports whether err means that a map or program does not exist any more. A missing file means
// something else: cilium/ebpf reads /proc/self/fdinfo, and /proc need not be mounted.
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

// isMapError reports whether err concerns one map only.
func isMapError(err error) bool {
	var e *mapError
	return errors.As(err, &e)
}

// adminReason explains an error of the calls that go by id (bpf_obj_get_next_id and
// bpf_map_get_fd_by_id in kernel/bpf/syscall.c).
func adminReason(err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (needs CAP_SYS_ADMIN)", unix.EPERM)
	}
	return err
}

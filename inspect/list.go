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

// maps opens the maps on the host that have one of the types, or all when none
// is given, one after the other in the order of their ids. A map is closed after the
// loop's body. One that cannot be opened is an error of type *mapError, after which
// the loop goes on; any other error ends it.
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

// mapIDs lists the ids of all maps. It comes before any map is looked at, so
// that it cannot fall behind a process that keeps making maps: each gets
// a higher id.
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

// vanished reports whether err says that there is no such map or program any more. A
// file that is missing is something else: cilium/ebpf reads /proc/self/fdinfo, and
// there may be no /proc.
func vanished(err error) bool {
	_, file := errors.AsType[*fs.PathError](err)
	return !file && errors.Is(err, fs.ErrNotExist)
}

// mapError says why one map could not be looked at.
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

package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/maptype"
	"github.com/rbtool/rbtool/internal/sentinel"
	"github.com/rbtool/rbtool/pin"
)

var (
	// ErrReference reports a string that is not a reference to a map, see [Lookup].
	ErrReference = errors.New("not a reference to a map (a path, id:NUMBER or name:NAME)")

	// ErrAmbiguous reports a name that several maps have.
	ErrAmbiguous = errors.New("several maps have this name")

	// ErrNotFound reports that no map has the given path, id or name. It matches [fs.ErrNotExist].
	ErrNotFound = sentinel.New(sentinel.NotFound, "no such map")
)

// Lookup opens a map for reading and writing. ref is an id ("id:12"), a name ("name:events"),
// or else the path of a pin. The caller closes the map.
//
// If types are given, Lookup opens only a map of one of them: of several maps with the name it
// ignores those of other types. If there are only maps of other types, the error matches
// [pin.ErrWrongType]. Other errors match [ErrReference]; [ErrNotFound]; [ErrAmbiguous], whose
// text lists the maps; and those of [pin.Open] for a path. Ids and names need CAP_SYS_ADMIN;
// without it the error matches [fs.ErrPermission].
func Lookup(ref string, types ...ebpf.MapType) (*ebpf.Map, error) {
	return lookupWith(pin.Open, ref, types)
}

// LookupToRead is like [Lookup], but if the caller may not write a pin, it opens the pin
// read-only, as [pin.OpenReadOnly] does. Such a map suffices for [One] and [Users].
func LookupToRead(ref string, types ...ebpf.MapType) (*ebpf.Map, error) {
	return lookupWith(openToRead, ref, types)
}

func openToRead(path string, types ...ebpf.MapType) (*ebpf.Map, error) {
	m, err := pin.Open(path, types...)
	if !errors.Is(err, fs.ErrPermission) {
		return m, err
	}
	return pin.OpenReadOnly(path, types...)
}

// opener opens a pin.
type opener func(path string, types ...ebpf.MapType) (*ebpf.Map, error)

func lookupWith(open opener, ref string, types []ebpf.MapType) (*ebpf.Map, error) {
	m, err := lookup(open, ref, types)
	if err != nil {
		return nil, fmt.Errorf("find map %q: %w", ref, err)
	}
	return m, nil
}

func lookup(open opener, ref string, types []ebpf.MapType) (*ebpf.Map, error) {
	if id, ok := strings.CutPrefix(ref, "id:"); ok {
		return byID(id, types)
	}
	if name, ok := strings.CutPrefix(ref, "name:"); ok {
		return byName(name, types)
	}
	if ref == "" {
		return nil, ErrReference
	}
	m, err := open(ref, types...)
	if vanished(err) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, errors.Unwrap(err) // remove the path, which lookupWith adds
	}
	return m, nil
}

func byID(text string, types []ebpf.MapType) (*ebpf.Map, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return nil, ErrReference
	}
	m, err := ebpf.NewMapFromID(ebpf.MapID(id))
	if vanished(err) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, adminReason(err)
	}
	if err := maptype.Check(m.Type(), types); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// nameLen is the maximum length of a map's name in bytes: BPF_OBJ_NAME_LEN less the final NUL,
// include/uapi/linux/bpf.h.
const nameLen = 15

// named is a map that has the name byName looks for.
type named struct {
	id  ebpf.MapID
	typ ebpf.MapType
}

func byName(name string, want []ebpf.MapType) (_ *ebpf.Map, err error) {
	if name == "" {
		return nil, ErrReference
	}
	if len(name) > nameLen {
		return nil, fmt.Errorf("%w: the kernel keeps only %d bytes of a name: %q", ErrNotFound, nameLen, name[:nameLen])
	}
	var found *ebpf.Map
	var matches, others []named
	defer func() {
		if err != nil {
			found.Close()
		}
	}()
	for m, err := range maps() {
		if isMapError(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		info, err := m.Info()
		if err != nil {
			return nil, err
		}
		if info.Name != name {
			continue
		}
		id, _ := info.ID()
		if maptype.Check(info.Type, want) != nil {
			others = append(others, named{id, info.Type})
			continue
		}
		matches = append(matches, named{id, info.Type})
		if found == nil {
			if found, err = m.Clone(); err != nil {
				return nil, err
			}
		}
	}
	switch {
	case len(matches) == 1:
		return found, nil
	case len(matches) > 1:
		return nil, fmt.Errorf("%w: %s", ErrAmbiguous, list(matches))
	case len(others) > 0:
		return nil, fmt.Errorf("%w: it is the name of %s, wanted %s", pin.ErrWrongType, list(others), maptype.List(want))
	}
	return nil, ErrNotFound
}

func list(maps []named) string {
	var texts []string
	for _, m := range maps {
		texts = append(texts, fmt.Sprintf("id:%d (%s)", m.id, maptype.Name(m.typ)))
	}
	return strings.Join(texts, ", ")
}

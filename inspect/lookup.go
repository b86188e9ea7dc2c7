package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/bpffs"
	"github.com/rbtool/rbtool/internal/sentinel"
	"github.com/rbtool/rbtool/pin"
)

var (
	// ErrReference reports a string that is not a reference to a map, see [Lookup].
	ErrReference = errors.New("not a reference to a map (a path, an id or a name; also id:NUMBER, name:NAME)")

	// ErrAmbiguous reports a name that several maps have.
	ErrAmbiguous = errors.New("several maps have this name")

	// ErrPattern reports a pattern where one map is wanted, see [IsPattern]. It matches [ErrReference].
	ErrPattern error = patternError{}

	// ErrNotFound reports that no map has the given path, id or name. It matches [fs.ErrNotExist].
	ErrNotFound = sentinel.New(sentinel.NotFound, "no such map")
)

type patternError struct{}

func (patternError) Error() string        { return "a pattern can mean several maps; this takes one" }
func (patternError) Is(target error) bool { return target == ErrReference }

// LookupError is the error of [Lookup], [LookupToRead], [LookupAll] (which joins several) and [Pins].
type LookupError struct {
	Ref string // the reference
	Err error  // what is wrong with it
}

func (e *LookupError) Error() string { return fmt.Sprintf("find map %q: %v", e.Ref, e.Err) }
func (e *LookupError) Unwrap() error { return e.Err }

// Lookup opens a map for reading and writing. The caller closes the map. ref is one of
//
//	id:12        an id
//	name:events  a name
//	/sys/fs/bpf/events, ./events, app/events   the path of a pin; a relative one is tried in the working
//	             directory and then below each bpffs, /sys/fs/bpf first
//	12, events   a path if a map is pinned there, else an id if it is a number, else a name
//
// If types are given, Lookup opens only a map of one of them: of several maps with the name it
// ignores those of other types. If there are only maps of other types, the error matches
// [pin.ErrWrongType]. Other errors match [ErrReference], for a pattern also [ErrPattern]; [ErrNotFound], whose text says what was tried and
// which maps have similar names; [ErrAmbiguous], whose text lists the maps with their pins and owners; and
// those of [pin.Open] for a path. Ids and names need CAP_SYS_ADMIN; without it the error matches
// [fs.ErrPermission].
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
	r := resolver{open: open, types: types}
	found, err := r.one(ref)
	if err != nil {
		return nil, &LookupError{ref, err}
	}
	return found.Map, nil
}

// Found is a map that [LookupAll] has opened.
type Found struct {
	Map  *ebpf.Map // open for reading and writing; the caller closes it
	ID   ebpf.MapID
	Name string // at most 15 bytes, may be empty
	Pin  string // the path at which the reference found the map; empty for ids and names
	Ref  string // the reference that found the map, the first one if several do
}

// LookupAll opens the maps that several references mean: for each one the map that [Lookup] opens or, if it is
// a pattern, all maps of the types that match it. The maps come in the order of the references, those of
// a pattern by path or id, each map once. The caller closes them.
//
// A pattern has one of the characters * ? [ as in [path.Match]. It matches paths of pins, absolute or relative
// as for Lookup ("/sys/fs/bpf/app/*", "app/*"); or names, after "name:" or, without a slash, if it matches no path.
// A pattern that no map matches is an error matching [ErrNotFound], see [IsPattern]. LookupAll returns either all
// maps or the errors of all references, joined.
func LookupAll(refs []string, types ...ebpf.MapType) ([]Found, error) {
	r := resolver{open: pin.Open, types: types}
	var all []Found
	var errs []error
	seen := map[ebpf.MapID]bool{}
	for _, ref := range refs {
		found, err := r.several(ref)
		if err != nil {
			errs = append(errs, &LookupError{ref, err})
		}
		for _, f := range found {
			if seen[f.ID] {
				f.Map.Close()
				continue
			}
			seen[f.ID] = true
			all = append(all, f)
		}
	}
	if err := errors.Join(errs...); err != nil {
		closeAll(all)
		return nil, err
	}
	return all, nil
}

// Pins returns the paths of the pins that ref means: the path of a pin of any object, or else the sorted pins of the map
// that [Lookup] opens. If ref can only be a path, Pins returns it unchecked. A map without a pin is an error
// matching [fs.ErrNotExist], and a pattern one matching [ErrPattern].
func Pins(ref string) ([]string, error) {
	if IsPattern(ref) {
		return nil, &LookupError{ref, ErrPattern}
	}
	paths := pinPaths(ref)
	if len(paths) == 1 && strings.Contains(ref, "/") {
		return paths, nil
	}
	for _, path := range paths {
		if exists(path) && bpffs.IsOn(path) {
			return []string{path}, nil
		}
	}
	r := resolver{open: openToRead}
	found, err := r.one(ref)
	if err != nil {
		return nil, &LookupError{ref, err}
	}
	defer found.Map.Close() // so that its id stays its own
	pins, _, err := pinsByMap()
	if err == nil && len(pins[found.ID]) == 0 {
		err = errNotPinned
	}
	if err != nil {
		return nil, &LookupError{ref, err}
	}
	return pins[found.ID], nil
}

// errNotPinned reports that a map has no pin.
var errNotPinned = sentinel.New(sentinel.NotFound, "it is not pinned")

// IsPattern reports whether ref can mean several maps: see [LookupAll]. The path of a pin means only this pin, whatever its
// characters.
func IsPattern(ref string) bool {
	return hasMeta(ref) && !slices.ContainsFunc(pinPaths(ref), func(path string) bool { return exists(path) && bpffs.IsOn(path) })
}

// hasMeta reports whether text has characters that mean something in a pattern.
func hasMeta(text string) bool { return strings.ContainsAny(text, "*?[") }

func closeAll(found []Found) {
	for _, f := range found {
		f.Map.Close()
	}
}

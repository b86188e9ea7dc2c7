package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpffs"
	"github.com/rbtool/rbtool/internal/maptype"
	"github.com/rbtool/rbtool/pin"
)

// resolver finds the maps that references mean.
type resolver struct {
	open  opener
	types []ebpf.MapType // that the caller wants; all if empty
	all   []Map          // every map of the host, see hostMaps
}

// one opens the map that ref means, see [Lookup].
func (r *resolver) one(ref string) (Found, error) {
	m, path, err := r.find(ref)
	if err != nil {
		return Found{}, err
	}
	info, err := m.Info()
	if err != nil {
		m.Close()
		return Found{}, err
	}
	id, _ := info.ID()
	return Found{Map: m, ID: id, Name: info.Name, Pin: path, Ref: ref}, nil
}

// find opens the map that ref means. path is the pin through which it did, or "".
func (r *resolver) find(ref string) (m *ebpf.Map, path string, err error) {
	id, isID := strings.CutPrefix(ref, "id:")
	name, isName := strings.CutPrefix(ref, "name:")
	switch {
	case ref == "", len(ref) >= unix.PathMax:
		return nil, "", ErrReference
	case isID:
		m, err = r.byID(id)
	case IsPattern(ref):
		return nil, "", ErrPattern
	case isName:
		if m, err = r.byName(name); err == ErrNotFound {
			err = fmt.Errorf("%w%s", err, r.near(name))
		}
	default:
		return r.byWord(ref)
	}
	return m, "", err
}

// byWord opens the map that a word without a prefix means. What is no map at one of its paths does not hide a map
// that has this id or name.
func (r *resolver) byWord(word string) (m *ebpf.Map, path string, err error) {
	var missed miss
	paths := pinPaths(word)
	for _, path := range paths {
		m, err := r.open(path, r.types...)
		if err == nil {
			return m, path, nil
		}
		err = errors.Unwrap(err) // remove the path
		if errors.Is(err, pin.ErrUnsafe) {
			return nil, "", err
		}
		if vanished(err) || errors.Is(err, pin.ErrName) || errors.Is(err, unix.ENAMETOOLONG) || len(paths) > 1 && !exists(path) {
			err = ErrNotFound
		}
		missed.add(path, err)
	}
	if !strings.Contains(word, "/") {
		kind, find := "name:", r.byName
		if isNumber(word) {
			kind, find = "id:", r.byID
		}
		m, err := find(word)
		if err == nil || errors.Is(err, ErrAmbiguous) {
			return m, "", err
		}
		missed.add(kind+word, err)
	}
	return nil, "", missed.err(r, word)
}

// exists reports whether there is something at path.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil || !errors.Is(err, fs.ErrNotExist)
}

// isNumber reports whether a word is an id.
func isNumber(word string) bool {
	_, err := strconv.ParseUint(word, 10, 32)
	return err == nil
}

// pinPaths returns the paths that a word can mean: in the working directory, and below each bpffs.
func pinPaths(word string) []string {
	paths := []string{word}
	if !filepath.IsLocal(word) || strings.HasPrefix(word, "./") {
		return paths
	}
	here, err := filepath.Abs(word)
	roots, _ := bpffs.Roots() // without /proc, there is only the working directory
	for _, root := range roots {
		if path := filepath.Join(root, word); err != nil || path != here {
			paths = append(paths, path)
		}
	}
	return paths
}

func (r *resolver) byID(text string) (*ebpf.Map, error) {
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
	if err := maptype.Check(m.Type(), r.types); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// nameLen is the maximum length of a map's name in bytes: BPF_OBJ_NAME_LEN less the final NUL,
// include/uapi/linux/bpf.h. Loaders cut longer names.
const nameLen = 15

func (r *resolver) byName(name string) (*ebpf.Map, error) {
	if name == "" {
		return nil, ErrReference
	}
	name = name[:min(len(name), nameLen)]
	all, err := r.hostMaps()
	if err != nil {
		return nil, err
	}
	var matches, others []Map
	for _, m := range all {
		switch {
		case m.Name != name:
		case r.wants(m.Type):
			matches = append(matches, m)
		default:
			others = append(others, m)
		}
	}
	switch {
	case len(matches) == 1:
		return r.byID(fmt.Sprint(matches[0].ID))
	case len(matches) > 1:
		return nil, fmt.Errorf("%w: %s", ErrAmbiguous, list(matches))
	case len(others) > 0:
		return nil, &maptype.Error{
			Type: others[0].Type,
			Text: fmt.Sprintf("it is the name of %s, wanted %s", list(others), maptype.List(r.types)),
		}
	}
	return nil, ErrNotFound
}

// wants reports whether the caller wants maps of type t.
func (r *resolver) wants(t ebpf.MapType) bool { return maptype.Check(t, r.types) == nil }

// hostMaps returns all maps of the host, of any type, by ascending id. It reads them once.
func (r *resolver) hostMaps() ([]Map, error) {
	if r.all != nil {
		return r.all, nil
	}
	var all []Map
	for m, err := range maps() {
		var d Map
		if err == nil {
			d, err = describe(m)
		}
		if isMapError(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	r.all = all
	return all, nil
}

// mostListed is how many maps an error lists.
const mostListed = 8

// list describes maps in one line, each with its id, type, pins and owners.
func list(found []Map) string {
	listed := slices.Clone(found[:min(len(found), mostListed)])
	h := newHost()
	defer h.close()
	h.relate(listed, Options{SkipPrograms: true})
	var texts []string
	for i := range listed {
		texts = append(texts, fmt.Sprintf("id:%d (%s)", listed[i].ID, strings.Join(marks(&listed[i]), ", ")))
	}
	if more := len(found) - len(listed); more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, ", ")
}

// marks returns what distinguishes a map from others of its name.
func marks(m *Map) []string {
	texts := append([]string{maptype.Name(m.Type)}, m.Pins...)
	for _, u := range m.Users {
		if !u.Self {
			texts = append(texts, fmt.Sprintf("%s[%d]", u.Comm, u.PID))
		}
	}
	if len(texts) > mostListed {
		texts = append(texts[:mostListed], "...")
	}
	return texts
}

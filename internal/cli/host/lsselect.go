package host

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/bpffs"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/maptype"
	"github.com/rbtool/rbtool/internal/near"
)

// mapTypes are the types that rbtool lists, by the names that --type takes.
var mapTypes = map[string]ebpf.MapType{
	"ringbuf": ebpf.RingBuf, "user_ringbuf": ebpf.UserRingbuf, "user-ringbuf": ebpf.UserRingbuf, "arena": ebpf.Arena,
}

// selection says which maps ls lists.
type selection struct {
	types []string
	dirs  []string       // maps that are pinned below one of these
	ids   []ebpf.MapID   // and these maps
	all   bool           // no directory or map is given
	kinds []ebpf.MapType // of types
}

// newSelection reads the arguments of ls: directories on a bpffs, and maps.
func newSelection(types, args []string) (*selection, error) {
	s := &selection{types: types, all: len(args) == 0}
	for _, name := range types {
		t, ok := mapTypes[strings.ToLower(name)]
		if !ok {
			names := []string{"ringbuf", "user_ringbuf", "arena"}
			return nil, command.Usagef("ls: --type %q: not one of %s%s", name, strings.Join(names, ", "), near.Hint(name, names))
		}
		s.kinds = append(s.kinds, t)
	}
	var errs []error
	for _, arg := range args {
		if dir := directory(arg); dir != "" {
			s.dirs = append(s.dirs, dir)
			continue
		}
		found, err := inspect.LookupAll([]string{arg}, ebpf.RingBuf, ebpf.UserRingbuf, ebpf.Arena)
		errs = append(errs, err)
		for _, f := range found {
			s.ids = append(s.ids, f.ID)
			f.Map.Close()
		}
	}
	return s, errors.Join(errs...)
}

// directory returns the absolute path of a directory on a bpffs, given by a path or one below the bpffs, or "".
func directory(arg string) string {
	paths := []string{arg}
	if roots, err := bpffs.Roots(); err == nil && filepath.IsLocal(arg) {
		for _, root := range roots {
			paths = append(paths, filepath.Join(root, arg))
		}
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil || !info.IsDir() || !bpffs.IsOn(path) {
			continue
		}
		if resolved, err := filepath.EvalSymlinks(path); err == nil {
			path = resolved
		}
		if absolute, err := filepath.Abs(path); err == nil {
			return absolute
		}
	}
	return ""
}

// keep returns the maps of the selection.
func (s *selection) keep(maps []inspect.Map) []inspect.Map {
	return slices.DeleteFunc(maps, func(m inspect.Map) bool {
		if len(s.kinds) > 0 && !slices.Contains(s.kinds, m.Type) {
			return true
		}
		return !s.all && !slices.Contains(s.ids, m.ID) && !slices.ContainsFunc(m.Pins, s.below)
	})
}

// below reports whether a pin is below one of the directories.
func (s *selection) below(pin string) bool {
	return slices.ContainsFunc(s.dirs, func(dir string) bool { return strings.HasPrefix(pin, strings.TrimSuffix(dir, "/")+"/") })
}

// sortKeys are the words of --sort. Numbers but the id are sorted from the largest.
var sortKeys = []string{"id", "name", "type", "size", "backlog", "fill"}

// sortMaps sorts maps by one of sortKeys, and by id where they are equal.
func sortMaps(maps []inspect.Map, key string) {
	slices.SortStableFunc(maps, func(a, b inspect.Map) int {
		switch key {
		case "name":
			return strings.Compare(a.Name, b.Name)
		case "type":
			return strings.Compare(maptype.Name(a.Type), maptype.Name(b.Type))
		case "size":
			return cmp.Compare(b.Bytes, a.Bytes)
		case "backlog":
			return cmp.Compare(backlog(&b), backlog(&a))
		case "fill":
			return cmp.Compare(fill(&b), fill(&a))
		}
		return cmp.Compare(a.ID, b.ID)
	})
}

// backlog returns the bytes that wait in a ring, or -1 if they are unknown.
func backlog(m *inspect.Map) float64 {
	if m.Positions == nil {
		return -1
	}
	return float64(m.Positions.Backlog)
}

// fill returns how full a map is in percent, or -1 if that is unknown.
func fill(m *inspect.Map) float64 {
	switch {
	case m.Positions != nil:
		return 100 * m.Positions.Fill
	case m.Arena != nil && m.Arena.Pages != nil:
		return arenaFill(m)
	}
	return -1
}

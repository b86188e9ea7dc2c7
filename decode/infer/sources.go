package infer

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/syscall"
)

// source is BTF that can describe the records of a program.
type source struct {
	*catalog
	why string // "the program's BTF"
	// same reports that the BTF is of the object that the program is of. Other BTF can have a different type
	// of the same name.
	same bool
	// guessed reports that only the time at which it came into the kernel tells that it belongs to the program.
	guessed bool
	// local returns the type of a function's variable, or of what it points to; nil without DWARF.
	local func(function, variable string) (btf.Type, bool)
	// debug returns the types of DWARF with a name, which BTF lacks if only functions use them; nil without DWARF.
	debug func(name string) []btf.Type
}

// named returns the structs and unions that C code means by name, those of BTF or else those of DWARF.
func (s source) named(name string, tag bool) []btf.Type {
	types := s.catalog.named(name, tag)
	if len(types) == 0 && s.debug != nil {
		types = objectsOf(s.debug(name), tag)
	}
	return types
}

// maxCatalogs bounds the BTFs that are read for one answer.
const maxCatalogs = 256

// catalog returns what the BTF with the id says, reading it once; nil if it cannot be read.
func (h *host) catalog(id btf.ID) *catalog {
	c, ok := h.catalogs[id]
	if ok || id == 0 || len(h.catalogs) == maxCatalogs {
		return c
	}
	spec, err := h.spec(id)
	switch {
	case err == nil:
		c = newCatalog(spec)
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission):
		h.note("BTF %d not read: %v", id, err)
	}
	h.catalogs[id] = c
	return c
}

// sourcesOf returns the BTF that belongs to a program: its own, that of the maps that it uses, that of the
// programs that use one of these maps too, and that of the ring's other programs. The maps are those other than the
// ring and what holds it.
func (h *host) sourcesOf(p *program, users []*syscall.ProgramInfo) (found []source) {
	seen := map[btf.ID]bool{}
	add := func(id btf.ID, same bool, format string, args ...any) {
		if seen[id] {
			return
		}
		seen[id] = true
		if c := h.catalog(id); c != nil {
			found = append(found, source{catalog: c, why: fmt.Sprintf(format, args...), same: same})
		}
	}
	addMaps := func(ids []ebpf.MapID, same bool) {
		for _, id := range ids {
			if m := h.mapInfo(id); m != nil {
				add(m.BTF, same, "the BTF of map %s", m.Name)
			}
		}
	}
	add(p.info.BTF, true, "the program's BTF")
	addMaps(p.info.Maps, true)
	own := map[ebpf.MapID]bool{}
	for _, id := range p.info.Maps {
		own[id] = !p.maps[uint32(id)].Ring
	}
	for _, other := range h.users(own) {
		add(other.BTF, true, "the BTF of %s, which shares a map with the program", other.Name)
		addMaps(other.Maps, true)
	}
	for _, other := range users {
		add(other.BTF, false, "the BTF of %s, which uses the ring too", other.Name)
		addMaps(other.Maps, false)
	}
	for _, id := range h.near(p) {
		n := len(found)
		add(h.maps[id].BTF, false, "the BTF of map %s, which was created next to the program's maps", h.maps[id].Name)
		for i := range found[n:] {
			found[n+i].guessed = true
		}
	}
	return found
}

// near returns the maps of global variables that no program uses and that were created shortly before or after those
// of a program, by their ids. Loaders create a map for variables that no program uses too, such as those that
// only export a type; they hold it as long as the program's maps. cilium/ebpf names it after the section. libbpf puts the object's name before that; a
// program that it loads has all types itself, unless it has no BTF.
func (h *host) near(p *program) (found []ebpf.MapID) {
	distance, named := ebpf.MapID(16), strings.HasPrefix
	if p.info.BTF == 0 {
		distance, named = 4, strings.Contains
	}
	seen := map[ebpf.MapID]bool{}
	for _, user := range h.programs {
		for _, id := range user.Maps {
			seen[id] = true // it is that program's
		}
	}
	for _, id := range p.info.Maps {
		for near := max(id, distance+1) - distance; near <= id+distance; near++ {
			if seen[near] {
				continue
			}
			seen[near] = true
			if m := h.mapInfo(near); m != nil && m.BTF != 0 && named(m.Name, ".") && h.sameOwner(near, p) {
				found = append(found, near)
			}
		}
	}
	return found
}

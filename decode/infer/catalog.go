package infer

import (
	"strings"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/recordflow"
)

// maxTypes bounds the types that are read of one BTF.
const maxTypes = 1 << 18

// catalog lists what one BTF says about types of records.
type catalog struct {
	spec     *btf.Spec
	structs  []btf.Type          // structs and unions that have a name, perhaps by a typedef
	exported map[btf.Type]string // those that a global variable points to or holds, with the variable's name
	values   map[string]btf.Type // types of the values of maps, by the map's full name, as .maps declares them
	sections map[string][]global // global variables by section
}

// global is a global variable.
type global struct {
	name string
	typ  btf.Type
	off  int64
}

// newCatalog reads the types of spec.
func newCatalog(spec *btf.Spec) *catalog {
	c := &catalog{spec: spec, exported: map[btf.Type]string{}, values: map[string]btf.Type{}, sections: map[string][]global{}}
	aliases := map[btf.Type]bool{} // structs that have no name but that of a typedef
	n := 0
	for t, err := range spec.All() {
		if n++; err != nil || n > maxTypes {
			break // BTF is broken or too long: use what has been read
		}
		switch t := t.(type) {
		case *btf.Struct, *btf.Union:
			if t.TypeName() != "" {
				c.structs = append(c.structs, t)
			}
		case *btf.Typedef:
			under := btf.UnderlyingType(t)
			if object(under) != nil && under.TypeName() == "" && !aliases[under] {
				aliases[under] = true
				c.structs = append(c.structs, t)
			}
		case *btf.Datasec:
			c.section(t)
		}
	}
	return c
}

// section notes the variables of a section.
func (c *catalog) section(sec *btf.Datasec) {
	for _, v := range sec.Vars {
		named, ok := v.Type.(*btf.Var)
		if !ok {
			continue
		}
		if sec.Name == ".maps" {
			c.declare(named)
			continue
		}
		c.sections[sec.Name] = append(c.sections[sec.Name], global{named.Name, named.Type, int64(v.Offset)})
		t := pointee(named.Type)
		if t == nil {
			t = object(named.Type)
		}
		if t != nil {
			c.exported[t] = named.Name
		}
	}
}

// declare notes the type of the values that the declaration of a map gives, as in __type(value, struct event).
func (c *catalog) declare(v *btf.Var) {
	def, ok := btf.UnderlyingType(v.Type).(*btf.Struct)
	if !ok {
		return
	}
	for _, m := range def.Members {
		if p, ok := btf.UnderlyingType(m.Type).(*btf.Pointer); ok && m.Name == "value" {
			c.values[v.Name] = p.Target
		}
	}
}

// value returns the type of the values of the map whose name in the kernel is name, and the map's full name.
func (c *catalog) value(name string) (btf.Type, string) {
	if t := c.values[name]; t != nil {
		return t, name
	}
	if len(name) == ebpfNameLen {
		for full, t := range c.values {
			if strings.HasPrefix(full, name) {
				return t, full
			}
		}
	}
	return nil, ""
}

// ebpfNameLen is the length to which the kernel cuts the names of maps and programs (BPF_OBJ_NAME_LEN - 1).
const ebpfNameLen = 15

// named returns the structs and unions that C code means by name: those of that tag, or typedefs if it has no tag.
func (c *catalog) named(name string, tag bool) (types []btf.Type) {
	found, err := c.spec.AnyTypesByName(name)
	if err != nil {
		return nil
	}
	return objectsOf(found, tag)
}

// objectsOf returns the structs and unions among types of one name, as [catalog.named] does.
func objectsOf(found []btf.Type, tag bool) (types []btf.Type) {
	for _, t := range found {
		if _, alias := t.(*btf.Typedef); object(t) != nil && alias != tag {
			types = append(types, t)
		}
	}
	return types
}

// at returns the variable that covers off in the section that is the value of a map, whose name in the kernel
// ends with that of the section, and the offset in the variable.
func (c *catalog) at(mapName string, off int64) (global, int64, bool) {
	_, suffix, ok := strings.Cut(mapName, ".")
	if !ok {
		return global{}, 0, false
	}
	for name, vars := range c.sections {
		if name != "."+suffix && (len(mapName) < ebpfNameLen || !strings.HasPrefix(name, "."+suffix)) {
			continue
		}
		for _, v := range vars {
			size, err := btf.Sizeof(v.typ)
			if err == nil && off >= v.off && off-v.off < int64(size) {
				return v, off - v.off, true
			}
		}
	}
	return global{}, 0, false
}

// records returns the types of the records of a ring, as its definition gives them: __type(value, struct event), or a
// union of several structs.
func (c *catalog) records(ring string) []btf.Type {
	t, _ := c.value(ring)
	if t == nil {
		return nil
	}
	union, ok := btf.UnderlyingType(t).(*btf.Union)
	if !ok {
		return []btf.Type{t}
	}
	var arms []btf.Type
	for _, m := range union.Members {
		if object(m.Type) == nil || m.Type.TypeName() == "" {
			return []btf.Type{t}
		}
		arms = append(arms, m.Type)
	}
	return arms
}

// hasFunction reports whether the BTF has a function that contains one of the sites.
func (c *catalog) hasFunction(sites []*recordflow.Site) bool {
	for _, s := range sites {
		var fn *btf.Func
		if c.spec.TypeByName(s.Func, &fn) == nil {
			return true
		}
	}
	return false
}

package objects

import "github.com/cilium/ebpf/btf"

// MapDef is the definition of a map in an object: a variable in the section .maps.
type MapDef struct {
	Name string
	// Type is the BPF_MAP_TYPE_* of the map, 0 if not said.
	Type uint32
	// Value is the type of a value, as in __type(value, struct event); nil if not said. The kernel does not
	// learn it for a ring.
	Value btf.Type
	// Values are the types of several kinds of records: the members of Value if it is a union of structs.
	Values []btf.Type
}

// Maps returns the definitions of the object's maps, in the order of the section. It is empty without BTF.
func (o *Object) Maps() []MapDef { return o.defs() }

// Map returns the definition of the map with a name, which may be cut to the 15 bytes that the kernel keeps.
func (o *Object) Map(name string) (MapDef, bool) {
	for _, d := range o.Maps() {
		if kernelName(d.Name) == kernelName(name) {
			return d, true
		}
	}
	return MapDef{}, false
}

// kernelName cuts a name to what the kernel keeps of it (BPF_OBJ_NAME_LEN, with a NUL).
func kernelName(name string) string { return name[:min(len(name), 15)] }

// readMaps reads the definitions from the BTF.
func (o *Object) readMaps() (defs []MapDef) {
	spec, err := o.spec()
	if err != nil {
		return nil
	}
	var maps *btf.Datasec
	if spec.TypeByName(".maps", &maps) != nil {
		return nil
	}
	for _, v := range maps.Vars[:min(len(maps.Vars), maxNamed)] {
		named, ok := v.Type.(*btf.Var)
		if !ok {
			continue
		}
		if def, ok := btf.UnderlyingType(named.Type).(*btf.Struct); ok {
			defs = append(defs, definition(named.Name, def))
		}
	}
	return defs
}

// definition reads the struct that defines a map, as the macros __type and __uint of bpf_helpers.h declare it.
func definition(name string, def *btf.Struct) MapDef {
	d := MapDef{Name: name}
	for _, m := range def.Members {
		p, ok := btf.UnderlyingType(m.Type).(*btf.Pointer)
		if !ok {
			continue
		}
		switch m.Name {
		case "type":
			if number, ok := p.Target.(*btf.Array); ok { // __uint: a pointer to an array of so many elements
				d.Type = number.Nelems
			}
		case "value":
			if _, void := p.Target.(*btf.Void); !void {
				d.Value, d.Values = p.Target, armsOf(p.Target)
			}
		}
	}
	return d
}

// armsOf returns the types of a union's members, if all are structs with a name.
func armsOf(t btf.Type) (arms []btf.Type) {
	u, ok := btf.UnderlyingType(t).(*btf.Union)
	if !ok {
		return nil
	}
	for _, m := range u.Members {
		if s, ok := btf.UnderlyingType(m.Type).(*btf.Struct); !ok || s.Name == "" && m.Type.TypeName() == "" {
			return nil
		}
		arms = append(arms, m.Type)
	}
	return arms
}

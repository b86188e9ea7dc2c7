package dwarftype

import (
	"debug/dwarf"
	"fmt"
)

// index reads all entries but the members of types in C.
func (d *Data) index() error {
	r := d.dwarf.Reader()
	var within []string // names of the functions that contain the entry, "" if none does
	function := func() string {
		if len(within) == 0 {
			return ""
		}
		return within[len(within)-1]
	}
	inC := false
	for left := maxIndex; ; {
		e, err := r.Next()
		if err != nil {
			return fmt.Errorf("%w: %w", ErrFormat, err)
		}
		if e == nil {
			return nil
		}
		if left -= 1 + len(e.Field); left < 0 || len(within) > maxDepth {
			return fmt.Errorf("%w: too many entries", ErrFormat)
		}
		if e.Tag == 0 {
			if len(within) > 0 {
				within = within[:len(within)-1]
			}
			continue
		}
		inner := function()
		switch e.Tag {
		case dwarf.TagCompileUnit:
			inC = isC(e)
		case dwarf.TagSubprogram:
			if inner = d.nameOf(e); inner != "" && e.Val(dwarf.AttrLowpc) != nil {
				d.funcs = append(d.funcs, inner)
			}
		case dwarf.TagVariable, dwarf.TagFormalParameter:
			d.addLocal(function(), e)
		default:
			d.addType(e)
		}
		if e.Children && !(inC && skipMembers(r, e)) {
			within = append(within, inner)
		}
	}
}

// isC reports whether a unit of compilation is in C, where no type is declared within another.
func isC(unit *dwarf.Entry) bool {
	language, _ := unit.Val(dwarf.AttrLanguage).(int64)
	switch language {
	case 0x01, 0x02, 0x0c, 0x1d, 0x2c: // DW_LANG_C89, C, C99, C11, C17
		return true
	}
	return false
}

// skipMembers moves r behind the members of a type, most of all entries. It reports false if the entry is no such type, or does
// not say where they end: reading them all is as fast then.
func skipMembers(r *dwarf.Reader, e *dwarf.Entry) bool {
	switch e.Tag {
	case dwarf.TagStructType, dwarf.TagUnionType, dwarf.TagEnumerationType:
	default:
		return false
	}
	next, ok := e.Val(dwarf.AttrSibling).(dwarf.Offset)
	if !ok || next <= e.Offset { // one that leads back would be read without end
		return false
	}
	r.Seek(next) // SkipChildren follows members of members by recursion
	return true
}

// addLocal notes a variable of a function. Outside functions it notes nothing.
func (d *Data) addLocal(function string, e *dwarf.Entry) {
	if function == "" {
		return
	}
	v := local{name: nameIn(e)}
	v.typ, _ = e.Val(dwarf.AttrType).(dwarf.Offset)
	v.origin, _ = e.Val(dwarf.AttrAbstractOrigin).(dwarf.Offset)
	if v.name != "" && v.typ != 0 || v.origin != 0 {
		d.locals[function] = append(d.locals[function], v)
	}
}

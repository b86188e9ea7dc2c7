package dwarftype

import (
	"debug/dwarf"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/cilium/ebpf/btf"
)

// composite converts a struct, class or union.
func (c converter) composite(r *dwarf.Reader, e *dwarf.Entry, name string) (btf.Type, error) {
	union := e.Tag == dwarf.TagUnionType
	if incomplete, _ := e.Val(dwarf.AttrDeclaration).(bool); incomplete {
		return nil, fmt.Errorf("%w: %s is only declared", ErrFormat, name)
	}
	size, err := sizeIn(e)
	if err != nil {
		return nil, err
	}
	var members []btf.Member
	err = c.children(r, e, func(child *dwarf.Entry) error {
		static, _ := child.Val(dwarf.AttrExternal).(bool)
		if child.Tag != dwarf.TagMember && child.Tag != dwarf.TagInheritance || static {
			return nil
		}
		m, err := c.member(child, r.ByteOrder() == binary.BigEndian)
		if err != nil {
			return err
		}
		members = append(members, m)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if union {
		return &btf.Union{Name: name, Size: size, Members: members}, nil
	}
	return &btf.Struct{Name: name, Size: size, Members: members}, nil
}

// member converts a member of a struct or union, or a base class, which is a member without a name.
func (c converter) member(e *dwarf.Entry, big bool) (m btf.Member, err error) {
	m.Name = nameIn(e)
	if m.Type, err = c.of(e); err != nil {
		return m, err
	}
	offset, err := location(e)
	if err != nil {
		return m, err
	}
	bits, isBitfield := e.Val(dwarf.AttrBitSize).(int64)
	if isBitfield {
		m.BitfieldSize = btf.Bits(bits)
	}
	if at, ok := e.Val(dwarf.AttrDataBitOffset).(int64); ok {
		offset = at
	} else if at, ok := e.Val(dwarf.AttrBitOffset).(int64); ok && isBitfield {
		// Until DWARF 3, it counts from the most significant bit of the storage unit.
		unit, ok := e.Val(dwarf.AttrByteSize).(int64)
		if size, err := btf.Sizeof(m.Type); err == nil && !ok {
			unit = int64(size)
		}
		if !big {
			at = unit*8 - at - bits
		}
		offset += at
	}
	if offset < 0 || offset > math.MaxInt32 || bits < 0 || bits > 128 || isBitfield && bits == 0 {
		return m, fmt.Errorf("%w: member %s at bit %d, of %d bits", ErrFormat, m.Name, offset, bits)
	}
	m.Offset = btf.Bits(offset)
	return m, nil
}

// location returns the offset of a member in bits.
func location(e *dwarf.Entry) (int64, error) {
	const plusUconst = 0x23 // DW_OP_plus_uconst, with the offset in LEB128
	switch v := e.Val(dwarf.AttrDataMemberLoc).(type) {
	case nil:
		return 0, nil
	case int64:
		if v >= 0 && v <= math.MaxInt32/8 {
			return v * 8, nil
		}
	case []byte:
		if len(v) > 1 && v[0] == plusUconst {
			if n, size := uleb(v[1:]); size == len(v)-1 && n <= math.MaxInt32/8 {
				return int64(n) * 8, nil
			}
		}
	}
	return 0, fmt.Errorf("%w: a member without a constant offset", ErrFormat)
}

// uleb decodes an unsigned LEB128 number. size is how many bytes it has, 0 if it is malformed.
func uleb(b []byte) (n uint64, size int) {
	for i, v := range b {
		if i == 10 {
			break
		}
		n |= uint64(v&0x7f) << (7 * i)
		if v < 0x80 {
			return n, i + 1
		}
	}
	return 0, 0
}

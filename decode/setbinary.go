package decode

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf/btf"
)

// What tells the types of a set apart, in the set's binary form.
const (
	byNothing uint32 = iota // there is only one type
	byTag
	byLength
)

// part is a type of a set. key is the tag or length of its records.
type part struct {
	key uint64
	typ btf.Type
}

func (s *Set) parts() (by uint32, parts []part) {
	switch {
	case s.only != nil:
		return byNothing, []part{{typ: s.only.typ}}
	case s.byTag != nil:
		for _, tag := range slices.Sorted(maps.Keys(s.byTag)) {
			parts = append(parts, part{tag, s.byTag[tag].typ})
		}
		return byTag, parts
	}
	for _, length := range slices.Sorted(maps.Keys(s.byLength)) {
		parts = append(parts, part{uint64(length), s.byLength[length].typ})
	}
	return byLength, parts
}

// assemble makes a set from what [Set.parts] returned for it. The error matches [ErrAmbiguous] if no set has
// these parts.
func assemble(by uint32, parts []part) (*Set, error) {
	tags, lengths := map[uint64]btf.Type{}, map[int]btf.Type{}
	for _, p := range parts {
		tags[p.key] = p.typ
		lengths[int(p.key)] = p.typ
	}
	switch {
	case by == byNothing && len(parts) == 1:
		return NewSet(parts[0].typ)
	case by == byTag && len(parts) > 0:
		return NewTagged(tags)
	case by == byLength && len(parts) > 0:
		return NewByLength(lengths)
	}
	return nil, fmt.Errorf("assemble %d types: %w", len(parts), ErrAmbiguous)
}

// MarshalBinary returns the set with the BTF of its types, for [UnmarshalSet]. All integers are
// little-endian:
//
//	u32 what tells the types apart: 0 nothing (there is one), 1 their tag, 2 their length
//	u32 number of types
//	for each type: u64 tag or length, u32 type id, u32 zero
//	u32 length of the BTF
//	the BTF, padded with zeros to a multiple of 4 bytes
func (s *Set) MarshalBinary() ([]byte, error) {
	by, parts := s.parts()
	var builder btf.Builder
	le := binary.LittleEndian
	body := le.AppendUint32(nil, by)
	body = le.AppendUint32(body, uint32(len(parts)))
	for _, p := range parts {
		id, err := builder.Add(p.typ)
		if err != nil {
			return nil, fmt.Errorf("marshal types: %w", err)
		}
		body = le.AppendUint64(body, p.key)
		body = le.AppendUint32(body, uint32(id))
		body = le.AppendUint32(body, 0)
	}
	raw, err := builder.Marshal(nil, nil)
	if err != nil {
		return nil, fmt.Errorf("marshal types: %w", err)
	}
	body = le.AppendUint32(body, uint32(len(raw)))
	body = append(body, raw...)
	return append(body, make([]byte, -len(raw)&3)...), nil
}

// btfMagic is BTF_MAGIC (include/uapi/linux/btf.h).
const btfMagic = 0xeb9f

// UnmarshalSet returns the set in body, which [Set.MarshalBinary] wrote. body is not trusted, and
// not kept.
func UnmarshalSet(body []byte) (*Set, error) {
	s, err := unmarshalSet(body)
	if err != nil {
		return nil, fmt.Errorf("unmarshal types: %w", err)
	}
	return s, nil
}

func unmarshalSet(body []byte) (*Set, error) {
	le := binary.LittleEndian
	if len(body) < 8 {
		return nil, errTruncated
	}
	by, n := le.Uint32(body), uint64(le.Uint32(body[4:]))
	body = body[8:]
	if n*16+4 > uint64(len(body)) {
		return nil, errTruncated
	}
	list, raw := body[:n*16], body[n*16:]
	size := uint64(le.Uint32(raw))
	if size > uint64(len(raw)-4) {
		return nil, errTruncated
	}
	raw = raw[4 : 4+size]
	// Pass only raw BTF: cilium/ebpf also accepts an ELF file and decompresses its sections, which can turn
	// 1 KiB of input into 1 MiB.
	if len(raw) < 2 || le.Uint16(raw) != btfMagic {
		return nil, errNotBTF
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	var parts []part
	for ; len(list) > 0; list = list[16:] {
		t, err := spec.TypeByID(btf.TypeID(le.Uint32(list[8:])))
		if err != nil {
			return nil, err
		}
		parts = append(parts, part{le.Uint64(list), t})
	}
	return assemble(by, parts)
}

var (
	errTruncated = errors.New("truncated")
	errNotBTF    = errors.New("not BTF")
)

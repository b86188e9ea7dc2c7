package decode

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/internal/rawbtf"
)

// The forms of a set's types in its binary form. Only byCase is written.
const (
	byNothing uint32 = iota // there is only one type
	byTag                   // of the first member
	byLength
	byCase
)

// savedCase is a [Case] in JSON.
type savedCase struct {
	Type     btf.TypeID      `json:"type"` // 0 for none
	Tags     []savedTag      `json:"tags,omitempty"`
	Min      int             `json:"min,omitempty"`
	Max      int             `json:"max,omitempty"`
	Meanings map[int]Meaning `json:"meanings,omitempty"`
	Prefix   bool            `json:"prefix,omitempty"`
	Header   bool            `json:"header,omitempty"`
	Arms     []savedArm      `json:"arms"`
	KnownBy  string          `json:"known_by,omitempty"`
}

// savedTag is a [Tag] in JSON.
type savedTag struct {
	Off    int      `json:"off"`
	Size   int      `json:"size"`
	Values []uint64 `json:"values"`
}

// savedArm is an [Arm] in JSON.
type savedArm struct {
	Tag      savedTag        `json:"tag"`
	Union    int             `json:"union"`
	Member   int             `json:"member"`
	Meanings map[int]Meaning `json:"meanings,omitempty"`
}

func save(c *Case, id btf.TypeID) savedCase {
	o := &c.Options
	to := savedCase{Type: id, Min: c.Min, Max: c.Max, Meanings: o.Meanings, Prefix: o.Prefix, Header: o.Header, KnownBy: o.KnownBy}
	for _, t := range c.Tags {
		to.Tags = append(to.Tags, savedTag(t))
	}
	if o.Arms != nil {
		to.Arms = []savedArm{}
	}
	for _, a := range o.Arms {
		to.Arms = append(to.Arms, savedArm{savedTag(a.Tag), a.Union, a.Member, a.Meanings})
	}
	return to
}

func (c *savedCase) restore(t btf.Type) Case {
	o := Options{Meanings: c.Meanings, Prefix: c.Prefix, Header: c.Header, KnownBy: c.KnownBy}
	if c.Arms != nil {
		o.Arms = []Arm{}
	}
	for _, a := range c.Arms {
		o.Arms = append(o.Arms, Arm{Tag(a.Tag), a.Union, a.Member, a.Meanings})
	}
	to := Case{Type: t, Options: o, Min: c.Min, Max: c.Max}
	for _, t := range c.Tags {
		to.Tags = append(to.Tags, Tag(t))
	}
	return to
}

// MarshalBinary returns the set with the BTF of its types, for [UnmarshalSet]. All integers are
// little-endian:
//
//	u32 3, the version of this form
//	u32 length of the JSON
//	the JSON: an array of the cases of [NewCases], with the ids of their types
//	u32 length of the BTF
//	the BTF
//	zeros up to a multiple of 4 bytes
func (s *Set) MarshalBinary() ([]byte, error) {
	var builder btf.Builder
	saved := make([]savedCase, len(s.cases))
	for i := range s.cases {
		c := &s.cases[i]
		var id btf.TypeID
		if c.Type != nil {
			var err error
			if id, err = builder.Add(c.Type); err != nil {
				return nil, fmt.Errorf("marshal types: %w", err)
			}
		}
		saved[i] = save(c, id)
	}
	text, err := json.Marshal(saved)
	if err != nil {
		return nil, fmt.Errorf("marshal types: %w", err)
	}
	raw, err := builder.Marshal(nil, nil)
	if err != nil {
		return nil, fmt.Errorf("marshal types: %w", err)
	}
	le := binary.LittleEndian
	body := le.AppendUint32(nil, byCase)
	body = append(le.AppendUint32(body, uint32(len(text))), text...)
	body = append(le.AppendUint32(body, uint32(len(raw))), raw...)
	return append(body, make([]byte, -len(body)&3)...), nil
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
	form, n := le.Uint32(body), uint64(le.Uint32(body[4:]))
	if form != byCase {
		n *= 16 // n is the number of types
	}
	body = body[8:]
	if n+4 > uint64(len(body)) {
		return nil, errTruncated
	}
	list, raw := body[:n], body[n:]
	size := uint64(le.Uint32(raw))
	if size > uint64(len(raw)-4) {
		return nil, errTruncated
	}
	spec, err := loadBTF(raw[4 : 4+size])
	if err != nil {
		return nil, err
	}
	if form != byCase {
		return fromKeys(form, list, spec)
	}
	var saved []savedCase
	if err := json.Unmarshal(list, &saved); err != nil {
		return nil, err
	}
	if len(saved) > maxCases {
		return nil, errCases
	}
	cases := make([]Case, len(saved))
	for i := range saved {
		var t btf.Type
		if id := saved[i].Type; id != 0 {
			if t, err = spec.TypeByID(id); err != nil {
				return nil, err
			}
		}
		cases[i] = saved[i].restore(t)
	}
	return NewCases(cases)
}

func loadBTF(raw []byte) (*btf.Spec, error) {
	if len(raw) < 2 || binary.LittleEndian.Uint16(raw) != btfMagic {
		return nil, errNotBTF
	}
	return rawbtf.Parse(raw)
}

// fromKeys returns a set in a form that earlier versions wrote. list has for each type u64 its tag or length, u32
// its id and u32 zero.
func fromKeys(form uint32, list []byte, spec *btf.Spec) (*Set, error) {
	var cases []Case
	for ; len(list) > 0; list = list[16:] {
		key := binary.LittleEndian.Uint64(list)
		t, err := spec.TypeByID(btf.TypeID(binary.LittleEndian.Uint32(list[8:])))
		if err != nil {
			return nil, err
		}
		c := Case{Type: t}
		switch form {
		case byTag:
			first, ok := firstMember(t)
			if !ok {
				return nil, errTag
			}
			size, _ := btf.Sizeof(first.Type) // a size of 0 is refused
			c.Tags = []Tag{{Size: size, Values: []uint64{key}}}
		case byLength:
			c.Min, c.Max = int(min(key, maxSize)), int(min(key, maxSize))
		}
		cases = append(cases, c)
	}
	if form > byLength || len(cases) == 0 || form == byNothing && len(cases) > 1 {
		return nil, fmt.Errorf("read %d types of form %d: %w", len(cases), form, ErrAmbiguous)
	}
	return NewCases(cases)
}

func firstMember(t btf.Type) (btf.Member, bool) {
	s, ok := btf.UnderlyingType(t).(*btf.Struct)
	if !ok || len(s.Members) == 0 || s.Members[0].BitfieldSize > 0 || s.Members[0].Offset != 0 {
		return btf.Member{}, false
	}
	return s.Members[0], true
}

var (
	errTruncated = errors.New("truncated")
	errNotBTF    = errors.New("not BTF")
)

package decode

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf/btf"
)

// Options say what a type alone does not say about its records. The zero value says nothing.
type Options struct {
	// Meanings are what the numbers of fields stand for, by their byte offset in the record. They count more than
	// what the type says.
	Meanings map[int]Meaning
	// Prefix reports that a record can end anywhere: the fields that it does not have as a whole are left out,
	// and an array that it cuts has fewer elements.
	Prefix bool
	// Header reports that the type, a struct or union, is only the beginning of longer records. The bytes after
	// it are shown in hex, as a last field "rest"; not those after a flexible array, of which there are none.
	Header bool
	// Arms say which member of a union a record has. They count more than the names of an enum and of the members,
	// see [New]; if Arms is empty but not nil, names do not count.
	Arms []Arm
	// KnownBy says how a type is known that no BTF describes: "reconstructed". It is "" for other types.
	KnownBy string
}

// Arm says that records with a tag have only one member of a union. The tags of all arms of a type have the same
// Off and Size. A record with another tag has all members of the union.
type Arm struct {
	Tag    Tag
	Union  int // offset of the union from the start of the record, in bytes; the outermost counts
	Member int // index of the member in the union
	// Meanings are what is known of such records besides [Options.Meanings], over which they count.
	Meanings map[int]Meaning
}

// equal reports whether o and p say the same.
func (o *Options) equal(p *Options) bool {
	return maps.Equal(o.Meanings, p.Meanings) && o.Prefix == p.Prefix && o.Header == p.Header && o.KnownBy == p.KnownBy &&
		(o.Arms == nil) == (p.Arms == nil) && slices.EqualFunc(o.Arms, p.Arms, Arm.equal)
}

func (a Arm) equal(b Arm) bool {
	return a.Union == b.Union && a.Member == b.Member && a.Tag.Off == b.Tag.Off && a.Tag.Size == b.Tag.Size &&
		slices.Equal(a.Tag.Values, b.Tag.Values) && maps.Equal(a.Meanings, b.Meanings)
}

var (
	errHeader = errors.New("only a struct or union can be a header")
	errArm    = errors.New("arms differ in the place of their tag")
)

// NewWith compiles t as [New] does, for records of which o says more. The Codec keeps o: do not change its
// maps and slices afterwards.
func NewWith(t btf.Type, o Options) (*Codec, error) {
	name := nameOf(t)
	b := &budget{enums: make(map[*btf.Enum]*enum), meanings: o.Meanings}
	v, err := compile(t, b, nil)
	if err != nil {
		return nil, fmt.Errorf("compile type %q: %w", name, err)
	}
	c := &Codec{typ: t, name: name, options: o, view: *v, full: v.size}
	if !v.root.flexible() {
		if c.full, err = sizeof(t); err != nil {
			return nil, fmt.Errorf("compile type %q: %w", name, err)
		}
	}
	if o.Header {
		if err := c.addRest(); err != nil {
			return nil, fmt.Errorf("compile type %q: %w", name, err)
		}
	}
	if o.Arms == nil {
		if c.addArms(armsOf(t), b) != nil {
			c.arms = nil // too many fields
		}
		return c, nil
	}
	arms := o.Arms
	if named := armsOf(t); len(arms) > 0 && len(named) > 0 && named[0].Tag.at() == arms[0].Tag.at() {
		arms = append(named, arms...) // the last one counts
	}
	if err := c.addArms(arms, b); err != nil {
		return nil, fmt.Errorf("compile type %q: %w", name, err)
	}
	return c, nil
}

// choice is what the arms of one tag say.
type choice struct {
	members  map[int]int     // the only member of a union, by the offset of the union
	meanings map[int]Meaning // all that are known of the records
}

func (c *choice) add(a *Arm) {
	c.members[a.Union] = a.Member
	if c.meanings == nil && a.Meanings != nil {
		c.meanings = map[int]Meaning{}
	}
	maps.Copy(c.meanings, a.Meanings)
}

// addArms compiles a view for each value of the tag of arms.
func (c *Codec) addArms(arms []Arm, b *budget) error {
	chosen := map[uint64]*choice{} // by tag
	for _, a := range arms {
		t, err := a.Tag.compile()
		if err != nil {
			return err
		}
		if c.tag == (spot{}) {
			c.tag = t.at
		}
		if t.at != c.tag {
			return errArm
		}
		for _, v := range t.values {
			if chosen[v] == nil {
				chosen[v] = &choice{map[int]int{}, maps.Clone(c.options.Meanings)}
			}
			chosen[v].add(&a)
		}
	}
	c.arms = make(map[uint64]*view, len(chosen))
	made, column := map[string]*view{}, len(c.ops)
	for _, tag := range slices.Sorted(maps.Keys(chosen)) {
		of := chosen[tag]
		key := fmt.Sprint(of.members, of.meanings) // sorted by the offset
		if made[key] == nil {
			b.meanings = of.meanings
			v, err := compile(c.typ, b, of.members)
			if err != nil {
				return err
			}
			v.column = column
			column += len(v.ops)
			made[key] = v
		}
		c.arms[tag] = made[key]
	}
	return nil
}

// addRest prepares c for the bytes after its type.
func (c *Codec) addRest() error {
	if !c.root.object {
		return errHeader
	}
	if c.root.flexible() {
		return nil
	}
	name := "rest"
	for c.root.byName[name] != nil {
		name += "_"
	}
	c.rest = &node{op: op{kind: kindRest, off: c.full, least: c.full + 1, json: `"` + name + `":`, text: name + "="}, name: name}
	c.root.byName[name] = c.rest
	return nil
}

// Rest returns the name of the field with the bytes after the type, see [Options.Header]; "" if there is none.
func (c *Codec) Rest() string {
	if c.rest == nil {
		return ""
	}
	return c.rest.name
}

// KnownBy returns [Options.KnownBy].
func (c *Codec) KnownBy() string { return c.options.KnownBy }

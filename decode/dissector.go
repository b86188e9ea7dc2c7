package decode

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// Dissected is a ring whose records a dissector shows.
type Dissected struct {
	Name  string // of its interface in captures: see package capture
	Types *Set
}

// likeIt reports whether r has the types of d.
func (d Dissected) likeIt(r Dissected) bool { return r.Types == d.Types }

// dissectorLua is the part of a dissector that is the same for all types.
//
//go:embed dissector.lua
var dissectorLua []byte

// Limits of a dissector: Wireshark keeps all fields in memory.
const (
	maxItems       = 1 << 14
	maxEnumerators = 1 << 16
)

var errDissector = errors.New("too many fields or enumerators for a dissector")

// AppendDissector appends a script in Lua that shows the records of rings in Wireshark and tshark, 3.6 or later, and
// makes their fields filterable: the field src.port of type conn_event is rbtool.conn_event.src.port, all records of
// the type have rbtool.conn_event, and rbtool.type and rbtool.ring are the names of type and ring. Characters that
// Wireshark does not allow in filters become underscores. If types of one name have a field of one name and different
// kinds, the later ones get a suffix: rbtool.event.pid_2.
//
// The names in types are not trusted: they are only string literals in the script, with all but plain characters
// escaped. It returns an error, and dst unchanged, if there are more fields than Wireshark should have.
func AppendDissector(dst []byte, rings ...Dissected) ([]byte, error) {
	d := dissector{codecs: map[*Codec]int{}, fields: map[luaField]int{}, kinds: ownFields(), enums: map[string]int{}}
	var list lua
	for i, r := range rings {
		if slices.ContainsFunc(rings[:i], r.likeIt) {
			continue
		}
		list.add("  {names={")
		for _, same := range rings[i:] {
			if r.likeIt(same) {
				list.add("[").text(same.Name).add("]=true, ")
			}
		}
		list.add("}, cases={\n")
		for _, b := range r.Types.branches() {
			if err := d.addCase(&list, r.Types, b); err != nil {
				return dst, fmt.Errorf("make dissector of %q: %w", r.Name, err)
			}
		}
		list.add("  }},\n")
	}
	dst = append(dst, "-- A dissector for Wireshark and tshark, made by rbtool: tshark -X lua_script:FILE -r CAPTURE\n"...)
	for _, part := range []struct {
		name string
		data []byte
	}{{"fields", d.fieldList}, {"enums", d.enumList}, {"types", d.types}, {"rings", list}} {
		dst = fmt.Appendf(dst, "local %s = {\n%s}\n", part.name, part.data)
	}
	return append(dst, dissectorLua...), nil
}

// branches returns the branches of s in the order of their rank.
func (s *Set) branches() []*branch {
	all := slices.Clone(s.loose)
	for _, list := range s.tagged {
		all = append(all, list...)
	}
	slices.SortFunc(all, func(a, b *branch) int { return cmp.Compare(a.rank, b.rank) })
	return slices.Compact(all)
}

// dissector is a dissector in the making.
type dissector struct {
	types, fieldList, enumList lua

	codecs             map[*Codec]int
	fields             map[luaField]int
	kinds              map[string]string // of a field, by its name in filters
	enums              map[string]int    // by their Lua
	items, enumerators int               // written

	codec *Codec // whose items are being added
}

// luaField is a ProtoField.
type luaField struct {
	name, shown, kind, base string
	enum                    int // 0 for none
}

// ownFields returns the kinds of the fields that dissector.lua has itself, by their names.
func ownFields() map[string]string {
	return map[string]string{"rbtool.ring": "STRING", "rbtool.type": "STRING", "rbtool.short": "expert", "rbtool.cut": "expert"}
}

// addCase appends a case of a ring to dst.
func (d *dissector) addCase(dst *lua, s *Set, b *branch) error {
	typ := 0
	if b.codec != nil {
		var err error
		if typ, err = d.typeOf(b.codec); err != nil {
			return err
		}
	}
	dst.add("    {type=").int(typ).add(", min=").int(b.min).add(", max=").int(b.max)
	if s.only != nil {
		dst.add(", all=true")
	}
	dst.add(", tags={")
	for _, t := range b.tags {
		dst.add("{o=").int(t.at.off).add(", n=").int(t.at.size).add(", v={")
		for _, v := range t.values {
			dst.key(v).add("true, ")
		}
		dst.add("}}, ")
	}
	dst.add("}, rivals={")
	for _, r := range b.rivals {
		dst.int(r.rank + 1).add(", ")
	}
	dst.add("}},\n")
	return nil
}

// typeOf returns the index of a codec in types, and adds it if it is absent.
func (d *dissector) typeOf(c *Codec) (int, error) {
	if i := d.codecs[c]; i > 0 {
		return i, nil
	}
	d.codec = c
	index := len(d.codecs) + 1
	d.codecs[c] = index
	node, err := d.field(nil, "NONE", "NONE", 0)
	if err != nil {
		return 0, err
	}
	t := &d.types
	t.add("  {name=").text(c.name).add(", f=").int(node)
	if c.rest != nil {
		t.add(", rest=")
		if err := d.addItem(t, c.rest, []string{c.rest.name}); err != nil {
			return 0, err
		}
	}
	views := []*view{&c.view}
	if len(c.arms) > 0 {
		t.add(", tag={o=").int(c.tag.off).add(", n=").int(c.tag.size).add("}, arms={")
		for _, tag := range slices.Sorted(maps.Keys(c.arms)) {
			at := slices.Index(views, c.arms[tag])
			if at < 0 {
				at = len(views)
				views = append(views, c.arms[tag])
			}
			t.key(tag).int(at + 1).add(", ")
		}
		t.add("}")
	}
	t.add(", views={\n")
	for _, v := range views {
		least := v.size
		if c.options.Prefix {
			least = min(least, v.root.least)
		}
		t.add("    {least=").int(least).add(", items={\n")
		if err := d.addView(t, v); err != nil {
			return 0, err
		}
		t.add("    }},\n")
	}
	t.add("  }},\n")
	return index, nil
}

// lua is Lua in the making. Its methods return their receiver.
type lua []byte

func (l *lua) add(s string) *lua {
	*l = append(*l, s...)
	return l
}

func (l *lua) int(n int) *lua {
	*l = strconv.AppendInt(*l, int64(n), 10)
	return l
}

// key appends the key of a table: the digits of v as a string, because numbers of Lua can lack 64 bits.
func (l *lua) key(v uint64) *lua { return l.add(`["` + strconv.FormatUint(v, 10) + `"]=`) }

// text appends a string literal. All bytes that could end it, or that are not printable ASCII, are decimal escapes.
func (l *lua) text(s string) *lua {
	*l = append(*l, '"')
	for i := range len(s) {
		if c := s[i]; c >= ' ' && c < 0x7f && c != '"' && c != '\\' {
			*l = append(*l, c)
		} else {
			*l = fmt.Appendf(*l, `\%03d`, c)
		}
	}
	return l.add(`"`)
}

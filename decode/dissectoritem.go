package decode

import (
	"math"
	"slices"
	"strconv"
)

// addView appends the items of a view.
func (d *dissector) addView(dst *lua, v *view) error {
	root := v.root.clone(true)
	if root.object {
		return d.addItems(dst, root.fields, nil)
	}
	dst.add("      ")
	if err := d.addItem(dst, root, []string{"value"}); err != nil {
		return err
	}
	dst.add(",\n")
	return nil
}

// addItems appends the items of the fields of a struct. path has the names of the enclosing fields.
func (d *dissector) addItems(dst *lua, fields []*node, path []string) error {
	for _, f := range fields {
		dst.add("      ")
		if err := d.addItem(dst, f, append(slices.Clip(path), f.name)); err != nil {
			return err
		}
		dst.add(",\n")
	}
	return nil
}

// addItem appends the item of a value with the given path.
func (d *dissector) addItem(dst *lua, n *node, path []string) error {
	name := shown(path[len(path)-1])
	if n.object {
		dst.add("{k=\"obj\", o=0, n=0, t=").text(name).add(", i={\n")
		err := d.addItems(dst, n.fields, path)
		dst.add("      }}")
		return err
	}
	if n.kind == kindArray && !n.wholeArray() {
		return d.addArray(dst, n, path)
	}
	it := n.item()
	enum := 0
	if it.named != nil {
		var err error
		if enum, err = d.enum(it.named, n.signs()); err != nil {
			return err
		}
	}
	f, err := d.field(path, it.kind, it.base, enum)
	if err != nil {
		return err
	}
	dst.add(`{k="` + it.show + `", f=`).int(f).add(", o=").int(n.off).add(", n=").int(it.size).add(", t=").text(name)
	if enum > 0 {
		dst.add(", e=").int(enum)
	}
	dst.add(it.more)
	if it.other != "" {
		f, err := d.field(append(slices.Clip(path), "v4"), it.other, "NONE", 0)
		if err != nil {
			return err
		}
		dst.add(", f4=").int(f)
	}
	dst.add("}")
	return nil
}

// addArray appends the item of an array of values that are shown one by one.
func (d *dissector) addArray(dst *lua, n *node, path []string) error {
	if n.array.stride == 0 {
		dst.add(`{k="obj", o=0, n=0, t=`).text(shown(path[len(path)-1])).add(", i={}}")
		return nil
	}
	dst.add(`{k="arr", o=`).int(n.off).add(", n=0, t=").text(shown(path[len(path)-1]))
	dst.add(extent(n.array)).add(", i={\n")
	elem := n.elem.clone(true)
	var err error
	if elem.object {
		err = d.addItems(dst, elem.fields, path)
	} else {
		err = d.addItem(dst, elem, path)
	}
	dst.add("      }}")
	return err
}

// extent returns the Lua for the length of an array: the number of elements, or -1 if only the record limits it, and
// the bytes of one.
func extent(a *array) string {
	count := a.n
	if count == math.MaxInt {
		count = -1
	}
	return ", c=" + strconv.Itoa(count) + ", z=" + strconv.Itoa(a.stride)
}

// wholeArray reports whether the array is shown as one value.
func (n *node) wholeArray() bool {
	if n.elem == nil || n.elem.object || n.array.stride == 0 {
		return false
	}
	switch n.meaning {
	case Chars:
		return true
	case IPv4, IPv6, IPAddress, MAC:
		return n.array.n <= 16
	}
	return n.array.stride == 1 && (n.elem.kind == kindUint || n.elem.kind == kindInt)
}

// item says how Lua shows a value.
type item struct {
	show       string            // function of the table show
	kind, base string            // of the ProtoField
	size       int               // bytes that the record must have
	more       string            // members of the item
	named      map[uint64]string // names of numbers; of fields that sign, sign-extended
	other      string            // kind of a second field
}

// item returns the item of a value that is no object and no array of several values.
func (n *node) item() item {
	o := &n.op
	switch o.kind {
	case kindString:
		return n.stringItem()
	case kindArray:
		return n.bytesItem()
	case kindRest:
		return item{show: "bytes", kind: "BYTES", base: "NONE", more: ", c=-1, z=1"}
	case kindBool:
		return item{show: "bool", kind: "BOOLEAN", base: "NONE", size: int(o.size), more: o.bits()}
	case kindFloat:
		kind := "FLOAT"
		if o.size == 8 {
			kind = "DOUBLE"
		}
		return item{show: "float", kind: kind, base: "NONE", size: int(o.size)}
	case kindUint128, kindInt128:
		if o.meaning == IPv6 || o.meaning == IPAddress {
			return address6(o.meaning)
		}
		return item{show: "hex", kind: "STRING", base: "NONE", size: 16}
	case kindHex:
		return item{show: "hex", kind: "STRING", base: "NONE", size: int(o.size)}
	}
	return o.integer()
}

func address6(m Meaning) item {
	it := item{show: "ip6", kind: "IPv6", base: "NONE", size: 16}
	if m == IPAddress {
		it.other = "IPv4"
	}
	return it
}

func (n *node) stringItem() item {
	it := item{show: "str", kind: "STRING", base: "NONE", more: extent(n.array)}
	if l := n.array.length; l != nil {
		it.more += ", l={o=" + strconv.Itoa(l.off) + ", n=" + strconv.Itoa(int(l.size)) + l.bits() + "}"
	}
	return it
}

// bytesItem returns the item of an array that is shown as one value.
func (n *node) bytesItem() item {
	whole := n.array.n * n.array.stride
	switch m := n.meaning; {
	case m == Chars:
		return n.stringItem()
	case m == IPv4 && whole == 4:
		return item{show: "ip4", kind: "IPv4", base: "NONE", size: 4, more: ", be=true"}
	case (m == IPv6 || m == IPAddress) && whole == 16:
		return address6(m)
	case m == MAC && whole == 6:
		return item{show: "mac", kind: "ETHER", base: "NONE", size: 6}
	}
	return item{show: "bytes", kind: "BYTES", base: "NONE", more: extent(n.array)}
}

// bits returns the Lua for the bits of o within its bytes.
func (o *op) bits() string {
	var more string
	if o.shift > 0 || o.width != o.size*8 {
		more = ", s=" + strconv.Itoa(int(o.shift)) + ", w=" + strconv.Itoa(int(o.width))
	}
	if o.signs() {
		more += ", g=true"
	}
	return more
}

// signs reports whether o loads numbers that people read as negative. An enum is none: Wireshark does not find
// the names of negative numbers.
func (o *op) signs() bool {
	switch o.meaning {
	case Errno, ErrorNo, Returned:
		return true
	}
	return o.kind == kindInt
}

// integer returns the item of an integer, a pointer or an enum.
func (o *op) integer() item {
	size := 8
	for size < int(o.width) {
		size *= 2
	}
	it := item{show: "num", kind: "UINT" + strconv.Itoa(size), base: "DEC", size: int(o.size), more: o.bits() + ", b=" + strconv.Itoa(size)}
	if o.signs() {
		it.kind = it.kind[1:]
	}
	if o.kind == kindPointer || o.meaning == Address {
		it.base = "HEX"
		it.more += ", x=true"
	}
	switch o.meaning {
	case IPv4, IPv4Host:
		it = item{show: "ip4", kind: "IPv4", base: "NONE", size: 4}
		if o.meaning == IPv4 {
			it.more = ", be=true"
		}
	case Port, BigEndian:
		it.more += ", be=true"
	case Nanoseconds:
		it.more += ", u=1e-9"
	case Microseconds:
		it.more += ", u=1e-6"
	case Milliseconds:
		it.more += ", u=1e-3"
	case Errno, ErrorNo, Returned, Signal:
		it.named = namesOfNumbers(o.meaning)
	}
	if o.kind == kindEnum {
		it.named = make(map[uint64]string, len(o.enum.names))
		for key, name := range o.enum.names {
			it.named[lowBits(key, o.width)] = name.text
		}
	}
	return it
}

package decode

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/escape"
)

// field returns the index of the ProtoField for a value with the given path, or for the record if that is empty, and
// adds it if it is absent.
func (d *dissector) field(path []string, kind, base string, enum int) (int, error) {
	if d.items++; d.items > maxItems {
		return 0, errDissector
	}
	name, last := "rbtool."+filterName(d.codec.name), d.codec.name
	for _, part := range path {
		name, last = name+"."+filterName(part), part
	}
	f := luaField{name, shown(last), kind, base, enum}
	for n := 2; d.kinds[f.name] != "" && d.kinds[f.name] != kind; n++ {
		f.name = name + "_" + strconv.Itoa(n)
	}
	if i := d.fields[f]; i > 0 {
		return i, nil
	}
	d.kinds[f.name] = kind
	d.fields[f] = len(d.fields) + 1
	d.fieldList.add("  {").text(f.name).add(", ").text(f.shown)
	d.fieldList.add(`, "` + kind + `", "` + base + `", `).int(enum).add("},\n")
	return len(d.fields), nil
}

// filterName returns name with only characters that Wireshark allows in the parts of a filter's name.
func filterName(name string) string {
	const most = 128 // bytes
	if name == "" {
		return "_"
	}
	return strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
			return r
		}
		return '_'
	}, name[:min(len(name), most)])
}

// shown returns name as people see it.
func shown(name string) string {
	const most = 128 // bytes
	return escape.String(name[:min(len(name), most)])
}

// maxExact is the greatest integer up to which Lua has all: its numbers can be doubles.
const maxExact = 1 << 53

// enum returns the index of a table of the names of numbers, and adds it if it is absent. It leaves out numbers that
// Lua may not have.
func (d *dissector) enum(names map[uint64]string, signed bool) (int, error) {
	if d.enumerators += len(names); d.enumerators > maxEnumerators {
		return 0, errDissector
	}
	var table lua
	for _, key := range slices.Sorted(maps.Keys(names)) {
		if v := int64(key); v <= maxExact && (v >= 0 || signed && v >= -maxExact) {
			table.add("[" + strconv.FormatInt(v, 10) + "]=").text(shown(names[key])).add(", ")
		}
	}
	if i := d.enums[string(table)]; i > 0 {
		return i, nil
	}
	d.enums[string(table)] = len(d.enums) + 1
	d.enumList.add("  {").add(string(table)).add("},\n")
	return len(d.enums), nil
}

// namesOfNumbers returns the names of error numbers or signals. Keys are sign-extended.
func namesOfNumbers(m Meaning) map[uint64]string {
	names := map[uint64]string{}
	for n := int64(1); n <= maxErrno; n++ {
		switch name := errnoName(n); {
		case m == Signal && n <= math.MaxInt8 && unix.SignalName(unix.Signal(n)) != "":
			names[uint64(n)] = unix.SignalName(unix.Signal(n))
		case m == Signal || name == "":
		case m == Returned && n == 1:
		default:
			names[uint64(-n)] = name
			if m == ErrorNo {
				names[uint64(n)] = name
			}
		}
	}
	return names
}

package runner

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/arena/loader"
	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/bpffs"
)

// setVariables gives global variables their values.
func (o *Object) setVariables(opts Options) error {
	for _, name := range slices.Sorted(maps.Keys(opts.Set)) {
		v := o.spec.Variables[name]
		if v == nil {
			return unknown("variable", name, o.spec.Variables)
		}
		if err := setVariable(v, opts.Set[name]); err != nil {
			return fmt.Errorf("variable %s: %w", name, err)
		}
	}
	return nil
}

// setVariable encodes text by the variable's type.
func setVariable(v *ebpf.VariableSpec, text string) error {
	if v.Type == nil {
		return fmt.Errorf("%w: the object has no BTF, which says its type", ErrSetting)
	}
	typ := btf.UnderlyingType(v.Type.Type)
	codec, err := decode.New(v.Type.Type)
	if err != nil {
		return err
	}
	value, err := codec.AppendRecord(nil, jsonValue(typ, text), int(v.Size()))
	if err != nil {
		return fmt.Errorf("%w: %q is not %s: %w", ErrSetting, text, describe(v.Type.Type), err)
	}
	if len(value) != len(v.Value) {
		padded := make([]byte, v.Size())
		copy(padded, value)
		value = padded
	}
	v.Value = value
	return nil
}

// jsonValue returns the JSON for text as a value of a type: numbers in the notations of C, true and false, characters,
// and names and strings without quotes.
func jsonValue(typ btf.Type, text string) []byte {
	switch t := typ.(type) {
	case *btf.Int:
		if t.Encoding == btf.Bool {
			switch strings.ToLower(text) {
			case "1", "y", "yes", "on", "true":
				return []byte("true")
			case "0", "n", "no", "off", "false":
				return []byte("false")
			}
		}
		if char, ok := character(text); ok {
			return strconv.AppendInt(nil, int64(char), 10)
		}
		if n, err := strconv.ParseInt(text, 0, 64); err == nil {
			return strconv.AppendInt(nil, n, 10)
		}
		if n, err := strconv.ParseUint(text, 0, 64); err == nil {
			return strconv.AppendUint(nil, n, 10)
		}
	case *btf.Enum:
		if _, err := strconv.ParseInt(text, 10, 64); err == nil {
			return []byte(text)
		}
		return quoted(text)
	case *btf.Array:
		if !strings.HasPrefix(strings.TrimSpace(text), "[") && !strings.HasPrefix(text, `"`) {
			if isChar(t.Type) {
				return quoted(text)
			}
			return []byte("[" + text + "]")
		}
	}
	return []byte(text)
}

// character returns the character of a C literal such as 'x'.
func character(text string) (byte, bool) {
	if len(text) == 3 && text[0] == '\'' && text[2] == '\'' {
		return text[1], true
	}
	return 0, false
}

func isChar(t btf.Type) bool {
	i, ok := btf.UnderlyingType(t).(*btf.Int)
	return ok && i.Size == 1 && i.Encoding != btf.Bool
}

func quoted(text string) []byte {
	b, _ := json.Marshal(text) // any string can be encoded
	return b
}

// describe names a type for people.
func describe(t btf.Type) string {
	if def, ok := t.(*btf.Typedef); ok {
		return def.Name
	}
	switch t := btf.UnderlyingType(t).(type) {
	case *btf.Int:
		return cmp.Or(t.Name, fmt.Sprintf("an integer of %d bytes", t.Size))
	case *btf.Enum:
		return "enum " + t.Name
	case *btf.Array:
		return fmt.Sprintf("an array of %d: %s", t.Nelems, describe(t.Type))
	case *btf.Struct:
		return "struct " + t.Name
	}
	return fmt.Sprint(t)
}

// resize sets the sizes of maps.
func (o *Object) resize(opts Options) error {
	for _, name := range slices.Sorted(maps.Keys(opts.Rings)) {
		m := o.spec.Maps[name]
		if m == nil {
			return unknown("ring", name, ringsOf(o.spec.Maps))
		}
		if m.Type != ebpf.RingBuf && m.Type != ebpf.UserRingbuf {
			return fmt.Errorf("ring %q: %w: it is a map of type %s", name, ErrSetting, strings.ToLower(m.Type.String()))
		}
		m.MaxEntries = opts.Rings[name]
	}
	for _, name := range slices.Sorted(maps.Keys(opts.Entries)) {
		m := o.spec.Maps[name]
		if m == nil {
			return unknown("map", name, o.spec.Maps)
		}
		m.MaxEntries = opts.Entries[name]
	}
	return nil
}

func ringsOf(all map[string]*ebpf.MapSpec) map[string]*ebpf.MapSpec {
	rings := maps.Clone(all)
	maps.DeleteFunc(rings, func(_ string, m *ebpf.MapSpec) bool { return m.Type != ebpf.RingBuf && m.Type != ebpf.UserRingbuf })
	return rings
}

// What a map gets whose size the object leaves to its loader.
const (
	defaultEntries    = 10240
	defaultStackDepth = 127 // kernel.perf_event_max_stack
	defaultRing       = 1 << 20
)

// completeMaps gives maps a size that have none: their loaders set it.
func (o *Object) completeMaps() {
	for _, name := range slices.Sorted(maps.Keys(o.spec.Maps)) {
		m := o.spec.Maps[name]
		if m.Type == ebpf.StackTrace && m.ValueSize == 0 {
			m.ValueSize = defaultStackDepth * 8
		}
		if m.MaxEntries != 0 || strings.HasPrefix(name, ".") {
			continue
		}
		switch m.Type {
		case ebpf.RingBuf, ebpf.UserRingbuf:
			m.MaxEntries = uint32(max(defaultRing, os.Getpagesize()))
		case ebpf.Hash, ebpf.LRUHash, ebpf.PerCPUHash, ebpf.LRUCPUHash, ebpf.LPMTrie, ebpf.StackTrace, ebpf.Array, ebpf.PerCPUArray:
			m.MaxEntries = defaultEntries
		default:
			continue
		}
		o.Notes = append(o.Notes, fmt.Sprintf("map %s has no size in the object: it gets %d", name, m.MaxEntries))
	}
}

// pinning returns the options for maps that the object wants pinned by name (LIBBPF_PIN_BY_NAME): they are below the bpffs,
// where libbpf has them.
func (o *Object) pinning() (opts loader.Options, err error) {
	for _, name := range slices.Sorted(maps.Keys(o.spec.Maps)) {
		if o.spec.Maps[name].Pinning != ebpf.PinByName {
			continue
		}
		if opts.Collection.Maps.PinPath == "" {
			if opts.Collection.Maps.PinPath, err = bpffs.Default(); err != nil {
				return opts, fmt.Errorf("map %s is pinned by name: %w", name, err)
			}
		}
		o.Notes = append(o.Notes, fmt.Sprintf("map %s is pinned as %s/%s, as the object says: it stays", name, opts.Collection.Maps.PinPath, name))
	}
	return opts, nil
}

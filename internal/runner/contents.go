package runner

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"

	"github.com/rbtool/rbtool/decode"
)

// Table is a map or a section of global variables, with types.
type Table struct {
	Name string
	// Key is nil for variables and for maps whose keys are indices of an array.
	Key   *decode.Codec
	Value *decode.Codec
	// PerCPU says that each entry has a value for each CPU.
	PerCPU bool

	m       *ebpf.Map
	indexed bool
}

// Entry is an entry of a Table.
type Entry struct {
	Key    []byte
	Values [][]byte // one, or one for each possible CPU
}

// Variable is a global variable with its present value.
type Variable struct {
	Name  string
	Type  *decode.Codec
	Value []byte
}

// countingTypes are the maps whose entries are worth showing.
var countingTypes = []ebpf.MapType{ebpf.Hash, ebpf.LRUHash, ebpf.Array, ebpf.PerCPUHash, ebpf.PerCPUArray, ebpf.LRUCPUHash, ebpf.LPMTrie}

// Tables returns the hash maps and arrays whose values the object's BTF describes, by name.
func (o *Object) Tables() (tables []Table) {
	for _, name := range slices.Sorted(maps.Keys(o.Maps)) {
		m, spec := o.Maps[name], o.spec.Maps[name]
		if strings.HasPrefix(name, ".") || strings.Contains(name, ".") || spec == nil || !slices.Contains(countingTypes, m.Type()) {
			continue
		}
		t := Table{Name: name, m: m, indexed: m.Type() == ebpf.Array || m.Type() == ebpf.PerCPUArray}
		t.PerCPU = m.Type() == ebpf.PerCPUHash || m.Type() == ebpf.PerCPUArray || m.Type() == ebpf.LRUCPUHash
		var err error
		if t.Value, err = codecFor(spec.Value, m.ValueSize()); err != nil {
			continue
		}
		if !t.indexed {
			if t.Key, err = codecFor(spec.Key, m.KeySize()); err != nil {
				continue
			}
		}
		tables = append(tables, t)
	}
	return tables
}

// codecFor returns what shows values of a size: by their type, or as integers or bytes if the map does not say it.
func codecFor(t btf.Type, size uint32) (*decode.Codec, error) {
	if t == nil || t == (*btf.Void)(nil) {
		if size == 4 || size == 8 {
			t = &btf.Int{Name: fmt.Sprintf("u%d", 8*size), Size: size}
		} else {
			t = &btf.Array{Type: &btf.Int{Name: "u8", Size: 1}, Index: &btf.Int{Name: "u32", Size: 4}, Nelems: size}
		}
	}
	return decode.New(t)
}

// Entries yields the entries of a table, those of an array only if they are not zero. Entries that programs change meanwhile
// may be missing.
func (t *Table) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		var key []byte
		var values any
		single, perCPU := []byte(nil), [][]byte(nil)
		values = &single
		if t.PerCPU {
			values = &perCPU
		}
		it := t.m.Iterate()
		for it.Next(&key, values) {
			e := Entry{Key: slices.Clone(key)}
			for _, v := range perCPU {
				e.Values = append(e.Values, slices.Clone(v))
			}
			if !t.PerCPU {
				e.Values = [][]byte{slices.Clone(single)}
			}
			if t.indexed && !slices.ContainsFunc(e.Values, NonZero) {
				continue
			}
			if !yield(e, nil) {
				return
			}
		}
		if err := it.Err(); err != nil && !errors.Is(err, ebpf.ErrIterationAborted) {
			yield(Entry{}, fmt.Errorf("read map %s: %w", t.Name, err))
		}
	}
}

// Index returns the index of an entry of an array.
func (t *Table) Index(e Entry) uint32 {
	if len(e.Key) != 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(e.Key)
}

// Sum returns, in decimal, the sum over all CPUs of an entry of integers. ok is false if the values are no integers of each CPU.
func (t *Table) Sum(e Entry) (text string, ok bool) {
	i, isInt := btf.UnderlyingType(t.Value.Type()).(*btf.Int)
	if !t.PerCPU || !isInt || i.Size > 8 {
		return "", false
	}
	signed := i.Encoding == btf.Signed
	var sum uint64
	for _, value := range e.Values {
		var b [8]byte
		copy(b[:], value[:i.Size])
		n := binary.NativeEndian.Uint64(b[:])
		if shift := 64 - 8*i.Size; signed {
			n = uint64(int64(n<<shift) >> shift)
		}
		sum += n
	}
	if signed {
		return strconv.FormatInt(int64(sum), 10), true
	}
	return strconv.FormatUint(sum, 10), true
}

// NonZero reports whether a value has a byte that is not zero.
func NonZero(b []byte) bool { return slices.ContainsFunc(b, func(c byte) bool { return c != 0 }) }

// GlobalVariables returns the variables that programs can change and whose value is not zero, by name.
func (o *Object) GlobalVariables() (all []Variable, err error) {
	for _, name := range slices.Sorted(maps.Keys(o.Variables)) {
		v := o.Variables[name]
		if v.ReadOnly() || v.Type() == nil {
			continue
		}
		codec, codecErr := decode.New(v.Type().Type)
		if codecErr != nil {
			continue
		}
		value := make([]byte, v.Size())
		if getErr := v.Get(value); getErr != nil {
			err = errors.Join(err, fmt.Errorf("read variable %s: %w", name, getErr))
			continue
		}
		if NonZero(value) {
			all = append(all, Variable{Name: name, Type: codec, Value: value})
		}
	}
	return all, err
}

package container

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/cilium/ebpf"
)

// KV is a [Table] whose keys and values are byte strings of variable length. In the table, a key is one
// byte with its length and then MaxKey bytes. A value is two bytes with its length, little endian, and
// then MaxValue bytes. Unused bytes are zeros.
//
// All methods may be called by many goroutines at once.
type KV struct{ t *Table }

// Lengths of the longest key and value, in bytes. A key has at least 1 byte; a value may be empty.
const (
	MaxKey   = 63
	MaxValue = 254
)

const (
	kvKeySize   = 1 + MaxKey
	kvValueSize = 2 + MaxValue
)

// NewKV creates an empty KV with a name, for capacity keys: see [TableOptions]. Errors are those of
// [NewTable].
func NewKV(h *Heap, name string, capacity int) (*KV, error) {
	t, err := NewTable(h, name, TableOptions{KeySize: kvKeySize, ValueSize: kvValueSize, Capacity: capacity})
	if err != nil {
		return nil, err
	}
	return &KV{t}, nil
}

// OpenKV opens a KV by its name. Errors are those of [OpenTable]. The error matches [ErrFormat] also if
// the table has other sizes of keys or values than a KV.
func OpenKV(h *Heap, name string) (*KV, error) {
	t, err := OpenTable(h, name)
	if err != nil {
		return nil, err
	}
	if t.keySize != kvKeySize || t.valueSize != kvValueSize {
		return nil, fmt.Errorf("open table %q: %w: keys have %d bytes and values %d, not %d and %d as in a KV",
			name, ErrFormat, t.keySize, t.valueSize, kvKeySize, kvValueSize)
	}
	return &KV{t}, nil
}

// Get returns a copy of the value of key, which the caller owns. Errors are those of [Table.Lookup], and
// [ErrTooLarge] if the key is longer than [MaxKey]. An empty key is an error too.
func (kv *KV) Get(key string) ([]byte, error) {
	k, err := kvKey(key)
	if err != nil {
		return nil, err
	}
	value := make([]byte, kvValueSize)
	if err := kv.t.Lookup(k, value); err != nil {
		return nil, fmt.Errorf("get %q: %w", key, err)
	}
	v, err := kvValue(value)
	if err != nil {
		return nil, fmt.Errorf("get %q: %w", key, err)
	}
	return v, nil
}

// Put sets the value of key. Errors are those of [Table.Put] with [ebpf.UpdateAny], and [ErrTooLarge] if
// the key is longer than [MaxKey] or the value than [MaxValue]. An empty key is an error too.
func (kv *KV) Put(key string, value []byte) error {
	k, err := kvKey(key)
	if err != nil {
		return err
	}
	if len(value) > MaxValue {
		return fmt.Errorf("value of %d bytes: %w: the maximum is %d", len(value), ErrTooLarge, MaxValue)
	}
	v := make([]byte, kvValueSize)
	binary.LittleEndian.PutUint16(v, uint16(len(value)))
	copy(v[2:], value)
	if err := kv.t.Put(k, v, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("put %q: %w", key, err)
	}
	return nil
}

// Delete deletes key. Errors are those of [Table.Delete], and [ErrTooLarge] if the key is longer than
// [MaxKey]. An empty key is an error too.
func (kv *KV) Delete(key string) error {
	k, err := kvKey(key)
	if err != nil {
		return err
	}
	if err := kv.t.Delete(k); err != nil {
		return fmt.Errorf("delete %q: %w", key, err)
	}
	return nil
}

// All iterates over the keys and values as [Table.All] does. It ends with [ErrCorrupt] at a key or value
// whose length is above the maximum.
func (kv *KV) All() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for e, err := range kv.t.All() {
			if err == nil {
				e, err = decodeEntry(e)
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// decodeEntry returns the key and the value in an entry of the table, without their lengths and padding.
// It does not copy them.
func decodeEntry(e Entry) (Entry, error) {
	if int(e.Key[0]) > MaxKey {
		return Entry{}, fmt.Errorf("%w: a key has the length %d, above %d", ErrCorrupt, e.Key[0], MaxKey)
	}
	value, err := kvValue(e.Value)
	return Entry{e.Key[1 : 1+int(e.Key[0])], value}, err
}

var errEmptyKey = errors.New("empty key")

func kvKey(key string) ([]byte, error) {
	if key == "" {
		return nil, errEmptyKey
	}
	if len(key) > MaxKey {
		return nil, fmt.Errorf("key of %d bytes: %w: the maximum is %d", len(key), ErrTooLarge, MaxKey)
	}
	k := make([]byte, kvKeySize)
	k[0] = byte(len(key))
	copy(k[1:], key)
	return k, nil
}

func kvValue(v []byte) ([]byte, error) {
	n := binary.LittleEndian.Uint16(v)
	if n > MaxValue {
		return nil, fmt.Errorf("%w: a value has the length %d, above %d", ErrCorrupt, n, MaxValue)
	}
	return v[2 : 2+n], nil
}

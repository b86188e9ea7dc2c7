package container

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"

	"github.com/cilium/ebpf"
)

// KV is a [Table] whose keys and values are byte strings of variable length. Programs see a key as a
// byte with its length and MaxKey bytes, padded with zeros, and a value as two bytes with its length,
// little endian, and MaxValue bytes.
//
// All methods may be called by many goroutines at once.
type KV struct{ t *Table }

// Lengths of the longest key and value, in bytes. The shortest key has 1 byte, the shortest value 0.
const (
	MaxKey   = 63
	MaxValue = 254
)

const (
	kvKeySize   = 1 + MaxKey
	kvValueSize = 2 + MaxValue
)

// NewKV creates a KV, named like a table, for capacity keys. Errors are those of [NewTable].
func NewKV(h *Heap, name string, capacity int) (*KV, error) {
	t, err := NewTable(h, name, TableOptions{KeySize: kvKeySize, ValueSize: kvValueSize, Capacity: capacity})
	if err != nil {
		return nil, err
	}
	return &KV{t}, nil
}

// OpenKV opens a KV by its name. Errors are those of [OpenTable]; [ErrFormat] also for a table with
// other sizes.
func OpenKV(h *Heap, name string) (*KV, error) {
	t, err := OpenTable(h, name)
	if err != nil {
		return nil, err
	}
	if t.keySize != kvKeySize || t.valueSize != kvValueSize {
		return nil, fmt.Errorf("open table %q: %w: keys of %d bytes and values of %d are not those of a KV",
			name, ErrFormat, t.keySize, t.valueSize)
	}
	return &KV{t}, nil
}

// Get returns a copy of the value of key. Errors are those of [Table.Lookup], and [ErrTooLarge].
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

// Put sets the value of key. Errors are those of [Table.Put], and [ErrTooLarge].
func (kv *KV) Put(key string, value []byte) error {
	k, err := kvKey(key)
	if err != nil {
		return err
	}
	if len(value) > MaxValue {
		return fmt.Errorf("value of %d bytes: %w: a value has at most %d", len(value), ErrTooLarge, MaxValue)
	}
	v := make([]byte, kvValueSize)
	binary.LittleEndian.PutUint16(v, uint16(len(value)))
	copy(v[2:], value)
	if err := kv.t.Put(k, v, ebpf.UpdateAny); err != nil {
		return fmt.Errorf("put %q: %w", key, err)
	}
	return nil
}

// Delete deletes key. Errors are those of [Table.Delete], and [ErrTooLarge].
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
// above the maximum length.
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

// decodeEntry returns the byte strings in an entry of the table, without copying.
func decodeEntry(e Entry) (Entry, error) {
	if int(e.Key[0]) > MaxKey {
		return Entry{}, fmt.Errorf("%w: a key of %d bytes", ErrCorrupt, e.Key[0])
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
		return nil, fmt.Errorf("key of %d bytes: %w: a key has at most %d", len(key), ErrTooLarge, MaxKey)
	}
	k := make([]byte, kvKeySize)
	k[0] = byte(len(key))
	copy(k[1:], key)
	return k, nil
}

func kvValue(v []byte) ([]byte, error) {
	n := binary.LittleEndian.Uint16(v)
	if n > MaxValue {
		return nil, fmt.Errorf("%w: a value of %d bytes", ErrCorrupt, n)
	}
	return v[2 : 2+n], nil
}

package container

import (
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"unsafe"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/arenamem"
)

// table mirrors struct arena_table.
type table struct {
	keySize   uint32 // bytes
	valueSize uint32 // bytes
	bits      uint32 // log2 of the number of buckets
	buckets   uint32 // reference to the first bucket
	seed      uint64
	count     atomic.Int64
}

// node mirrors struct arena_node. The words of the key and then of the value follow it.
type node struct {
	next uint32 // reference to the next node of the bucket, or 0
	hash uint32 // upper half of the key's hash
}

const nodeSize = uint64(unsafe.Sizeof(node{}))

// Table is a hash table in a heap, with keys and values of fixed sizes. Programs use
// bpf/headers/arena_table.h.
//
// A bucket is one word: a reference to its first node and a tag. Nodes are constant while they are in
// the table. Each change makes new nodes, publishes them with one compare-and-swap of the bucket's word,
// which increments the tag, and then frees the replaced nodes. Therefore:
//
//   - A change succeeds only if no other change was made to the bucket since the change read it. No
//     update is lost, and no key is in the table twice.
//   - A reader loads the bucket's word again after reading. If the word is the same, the bucket did not
//     change while it was read, and the value is not torn. If not, the reader starts again.
//   - A killed process loses only the nodes that it had not published or not freed yet. It does not block
//     others.
//
// Replacing or deleting a key copies the nodes before it in its bucket. A bucket has few nodes if Capacity
// is right; the table does not grow. Because of the copies, deleting can fail with [ErrFull].
//
// The second load of the bucket's word proves the loads before it only if it happens after them. On amd64
// loads are in order; on arm64 a barrier orders them (litmus table-lookup). On other machines, [NewTable] and [OpenTable] fail
// with [ebpf.ErrNotSupported].
//
// All methods may be called by many goroutines, processes and programs at once.
type Table struct {
	h                    *arenamem.Heap
	t                    *table
	buckets              []atomic.Uint64
	seed                 uint64
	keySize, valueSize   int
	keyWords, valueWords int
	nodeBytes            uint64
	lastNode             uint64 // largest offset of a node from the heap's start, in bytes
	p                    arena.Ptr[byte]
}

// TableOptions describe the table to create. KeySize and Capacity are required.
type TableOptions struct {
	KeySize   int // bytes, 1 to 4096
	ValueSize int // bytes, 0 to 4096
	// Capacity is the expected number of keys, 1 to 1<<27. The table has two to four times as many
	// buckets. It works with more keys, but slower.
	Capacity int
}

// Limits of TableOptions.
const (
	maxTableBytes    = 4096
	maxTableCapacity = 1 << 27
)

// maxChain bounds the nodes of a bucket: a longer chain is corrupt.
const maxChain = 4096

// NewTable creates an empty table with a name, as [Heap.AddRoot] does. Errors are those of [Heap.Alloc]
// and Heap.AddRoot, [ErrTooLarge] for options out of range, and [ebpf.ErrNotSupported] on machines other
// than amd64 and arm64.
func NewTable(h *Heap, name string, opts TableOptions) (*Table, error) {
	t, err := newTable(h, name, opts)
	if err != nil {
		return nil, fmt.Errorf("create table %q: %w", name, err)
	}
	return t, nil
}

func newTable(h *Heap, name string, opts TableOptions) (*Table, error) {
	if err := checkOrder(runtime.GOARCH); err != nil {
		return nil, err
	}
	switch {
	case opts.KeySize < 1 || opts.KeySize > maxTableBytes:
		return nil, fmt.Errorf("%w: key size is %d, not 1 to %d", ErrTooLarge, opts.KeySize, maxTableBytes)
	case opts.ValueSize < 0 || opts.ValueSize > maxTableBytes:
		return nil, fmt.Errorf("%w: value size is %d, not 0 to %d", ErrTooLarge, opts.ValueSize, maxTableBytes)
	case opts.Capacity < 1 || opts.Capacity > maxTableCapacity:
		return nil, fmt.Errorf("%w: capacity is %d, not 1 to %d", ErrTooLarge, opts.Capacity, maxTableCapacity)
	}
	n := uint32(bits.Len64(uint64(opts.Capacity))) + 1
	buckets, err := h.Alloc(8 << n)
	if err != nil {
		return nil, err
	}
	mem, err := h.a.Bytes(buckets, 8<<n)
	if err != nil {
		return nil, err
	}
	p, t, err := New[table](h)
	if err != nil {
		h.Free(buckets)
		return nil, err
	}
	err = h.a.Guard(func() error {
		clear(mem)
		t.keySize, t.valueSize, t.bits = uint32(opts.KeySize), uint32(opts.ValueSize), n
		t.buckets, t.seed = uint32(buckets), rand.Uint64()
		return nil
	})
	if err == nil {
		_, err = h.AddRoot(name, KindTable, arena.Ptr[byte](p))
	}
	if err != nil {
		h.Free(buckets)
		h.Free(arena.Ptr[byte](p))
		return nil, err
	}
	return openTable(h, name)
}

// OpenTable opens a table by its name. Errors are those of [Heap.Root], [ErrCorrupt], and
// [ebpf.ErrNotSupported] as with [NewTable].
func OpenTable(h *Heap, name string) (*Table, error) {
	t, err := openTable(h, name)
	if err != nil {
		return nil, fmt.Errorf("open table %q: %w", name, err)
	}
	return t, nil
}

func openTable(h *Heap, name string) (_ *Table, err error) {
	if err := checkOrder(runtime.GOARCH); err != nil {
		return nil, err
	}
	defer h.h.Mem.Catch(debug.SetPanicOnFault(true), &err)
	r, err := h.Root(name, KindTable)
	if err != nil {
		return nil, err
	}
	// SAFETY: At returns nil unless the whole table lies in the mapping.
	t := (*table)(h.h.At(uint32(r.Ptr), uint64(unsafe.Sizeof(table{}))))
	if t == nil {
		return nil, fmt.Errorf("%w: the table's address %#x is not in the heap", ErrCorrupt, uint64(r.Ptr))
	}
	// Copy the fields first: another process may change them after the check.
	keys, values, n, buckets := t.keySize, t.valueSize, t.bits, t.buckets
	if keys < 1 || keys > maxTableBytes || values > maxTableBytes || n > 29 || h.h.At(buckets, 8<<n) == nil {
		return nil, fmt.Errorf("%w: invalid table with keys of %d bytes, values of %d and 2^%d buckets at %#x", ErrCorrupt, keys, values, n, h.h.Address(buckets))
	}
	tab := &Table{
		h: h.h, t: t, seed: t.seed, p: r.Ptr,
		keySize: int(keys), valueSize: int(values),
		keyWords: int(keys+7) / 8, valueWords: int(values+7) / 8,
		// SAFETY: the check above proves that the buckets are in the mapping.
		buckets: unsafe.Slice((*atomic.Uint64)(h.h.At(buckets, 8<<n)), 1<<n),
	}
	tab.nodeBytes = nodeSize + 8*uint64(tab.keyWords+tab.valueWords)
	if tab.nodeBytes > h.h.Mem.Size-h.h.Start {
		return nil, fmt.Errorf("%w: nodes of %d bytes do not fit into the heap", ErrCorrupt, tab.nodeBytes)
	}
	tab.lastNode = h.h.Mem.Size - h.h.Start - tab.nodeBytes
	return tab, nil
}

// KeySize returns the size of a key in bytes.
func (t *Table) KeySize() int { return t.keySize }

// ValueSize returns the size of a value in bytes.
func (t *Table) ValueSize() int { return t.valueSize }

// Len returns the number of keys. For each process killed during a change, it may be wrong by one.
// The error matches [arena.ErrAbsent] or [os.ErrClosed].
func (t *Table) Len() (n int, err error) {
	if t.h.Mem.Size == 0 {
		return 0, arenamem.ErrClosed
	}
	defer t.h.Catch("count keys", debug.SetPanicOnFault(true), &err)
	return int(t.t.count.Load()), nil
}

// Lookup copies the value of key to value. Both slices must have the table's sizes; other sizes are an
// error. After an error the contents of value are undefined. Errors: [ErrNotFound]; [ErrContended] if the
// bucket changed during every attempt to read it; [ErrCorrupt]; [arena.ErrAbsent].
func (t *Table) Lookup(key, value []byte) (err error) {
	if t.h.Mem.Size == 0 || len(key) != t.keySize || len(value) != t.valueSize {
		return t.sizeError(key, value)
	}
	defer t.h.Catch("look up", debug.SetPanicOnFault(true), &err)
	hash := t.hash(key)
	bucket := t.bucket(hash)
	for left := arenamem.MaxTries; left > 0; {
		head := bucket.Load()
		n, depth, err := t.find(uint32(head), hash, key)
		if n != nil {
			t.copyValue(value, n)
		}
		// Partner: the compare-and-swap of a change. Nodes are constant before it. After it, this load
		// returns another tag (litmus table-lookup).
		if bucket.Load() != head {
			left -= 1 + depth // count the nodes visited, not only the attempts
			continue
		}
		if n == nil && err == nil {
			return ErrNotFound
		}
		return err
	}
	return ErrContended
}

func (t *Table) sizeError(key, value []byte) error {
	if t.h.Mem.Size == 0 {
		return arenamem.ErrClosed
	}
	if len(key) != t.keySize {
		return fmt.Errorf("%w: key of %d bytes in a table with keys of %d", errSize, len(key), t.keySize)
	}
	return fmt.Errorf("%w: value of %d bytes in a table with values of %d", errSize, len(value), t.valueSize)
}

var errSize = errors.New("wrong size")

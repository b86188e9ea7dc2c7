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

// table is struct arena_table.
type table struct {
	keySize   uint32 // bytes
	valueSize uint32
	bits      uint32 // log2 of the buckets
	buckets   uint32 // reference
	seed      uint64
	count     atomic.Int64
}

// node is struct arena_node; the key and the value follow, in words of 8 bytes.
type node struct {
	next uint32 // reference
	hash uint32
}

const nodeSize = uint64(unsafe.Sizeof(node{}))

// Table is a hash table of a heap, with keys and values of fixed sizes. Programs and
// processes read and change it at once, with no locks. Programs use
// bpf/headers/arena_table.h.
//
// A bucket is one word: a reference to its first node and a tag. Nodes do not change while
// they are in the table. Every change makes new ones and puts them in place with
// one exchange of the bucket's word, which counts the tag on; the replaced nodes are
// freed. So:
//
//   - who changes a bucket knows from the exchange that nobody else did since it read it:
//     no update is lost, no key is there twice;
//   - who reads a bucket looks at its word again afterwards. If it is the same, all that
//     was read belongs together: a value is never torn. If not, it reads again;
//   - who is killed loses the nodes that it had not put in place, or not freed yet, and holds
//     up nobody.
//
// The price is that replacing or deleting a key copies the nodes before it in its
// bucket, of which there are few when the table was made large enough: it does not grow.
// Deleting can thereby fail with [ErrFull].
//
// x86 reorders neither loads with loads nor stores with stores. Other machines would need barriers in
// programs and processes, which have none: there, [NewTable] and [OpenTable] fail with
// [ErrNotSupported].
type Table struct {
	h                    *arenamem.Heap
	t                    *table
	buckets              []atomic.Uint64
	seed                 uint64
	keySize, valueSize   int
	keyWords, valueWords int
	nodeBytes            uint64
	lastNode             uint64 // where the last node can lie, in bytes from the heap's start
	p                    arena.Ptr[byte]
}

// TableOptions say what table to make.
type TableOptions struct {
	KeySize   int // bytes, 1 to maxTableBytes
	ValueSize int // bytes, 0 to maxTableBytes
	// Capacity is for how many keys it is: the buckets are twice as many, or up to four
	// times. With more keys it works and gets slower.
	Capacity int
}

// Limits of tables.
const (
	maxTableBytes    = 4096
	maxTableCapacity = 1 << 27
)

// maxChain is how many nodes are followed in a bucket: with more, something is wrong.
const maxChain = 4096

// NewTable makes an empty table with a name. Errors are those of [Heap.Alloc] and [Heap.AddRoot],
// [ErrTooLarge], and [ErrNotSupported] on machines other than x86-64.
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
		return nil, fmt.Errorf("%w: keys of %d bytes, not 1 to %d", ErrTooLarge, opts.KeySize, maxTableBytes)
	case opts.ValueSize < 0 || opts.ValueSize > maxTableBytes:
		return nil, fmt.Errorf("%w: values of %d bytes, not 0 to %d", ErrTooLarge, opts.ValueSize, maxTableBytes)
	case opts.Capacity < 1 || opts.Capacity > maxTableCapacity:
		return nil, fmt.Errorf("%w: capacity %d, not 1 to %d", ErrTooLarge, opts.Capacity, maxTableCapacity)
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

// OpenTable finds a table by its name. Errors are those of [Heap.Root], [ErrCorrupt], and
// [ErrNotSupported] as with [NewTable].
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
	t := (*table)(h.h.At(uint32(r.Ptr), uint64(unsafe.Sizeof(table{}))))
	if t == nil {
		return nil, fmt.Errorf("%w: it lies at %#x", ErrCorrupt, uint64(r.Ptr))
	}
	// A copy: what is checked here must stay so.
	keys, values, n, buckets := t.keySize, t.valueSize, t.bits, t.buckets
	if keys < 1 || keys > maxTableBytes || values > maxTableBytes || n > 29 || h.h.At(buckets, 8<<n) == nil {
		return nil, fmt.Errorf("%w: keys of %d bytes, values of %d, 2^%d buckets at %#x", ErrCorrupt, keys, values, n, h.h.Address(buckets))
	}
	tab := &Table{
		h: h.h, t: t, seed: t.seed, p: r.Ptr,
		keySize: int(keys), valueSize: int(values),
		keyWords: int(keys+7) / 8, valueWords: int(values+7) / 8,
		// SAFETY: the buckets lie in the mapping, as was just checked.
		buckets: unsafe.Slice((*atomic.Uint64)(h.h.At(buckets, 8<<n)), 1<<n),
	}
	tab.nodeBytes = nodeSize + 8*uint64(tab.keyWords+tab.valueWords)
	if tab.nodeBytes > h.h.Mem.Size-h.h.Start {
		return nil, fmt.Errorf("%w: nodes of %d bytes", ErrCorrupt, tab.nodeBytes)
	}
	tab.lastNode = h.h.Mem.Size - h.h.Start - tab.nodeBytes
	return tab, nil
}

// KeySize and ValueSize are in bytes.
func (t *Table) KeySize() int   { return t.keySize }
func (t *Table) ValueSize() int { return t.valueSize }

// Len is how many keys there are. Who was killed in a change may have left it wrong
// by one. The error is [arena.ErrAbsent] or [os.ErrClosed].
func (t *Table) Len() (n int, err error) {
	if t.h.Mem.Size == 0 {
		return 0, arenamem.ErrClosed
	}
	defer t.h.Catch("count keys", debug.SetPanicOnFault(true), &err)
	return int(t.t.count.Load()), nil
}

// Lookup copies the value of key to value, which is as long as values are. Errors:
// [ErrNotFound]; [ErrContended] where the bucket was changed each time it was read; [ErrCorrupt];
// [arena.ErrAbsent].
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
		// Partner: the exchange that replaces the nodes. Before it they are unchanged; after
		// it this load sees another tag.
		if bucket.Load() != head {
			left -= 1 + depth // bounds the steps, not the tries
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

package container

import (
	"encoding/binary"
	"fmt"
	"iter"
	"runtime/debug"
	"sync/atomic"

	"github.com/rbtool/rbtool/internal/arenamem"
)

// Entry is a consistent copy of a key and its value.
type Entry struct {
	Key, Value []byte
}

// All iterates over the keys and values, in no particular order. The entries of a bucket are a consistent
// snapshot; different buckets are read at different times. The caller owns each Entry. The loop body may
// change the table.
//
// An error ends the iteration and is yielded last. It matches [ErrCorrupt] at a corrupt bucket,
// [ErrContended] at a bucket that changes during every attempt to read it, or [arena.ErrAbsent].
func (t *Table) All() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for i := range t.buckets {
			if t.h.Mem.Size == 0 {
				yield(Entry{}, arenamem.ErrClosed)
				return
			}
			entries, err := t.entries(&t.buckets[i])
			if err != nil {
				yield(Entry{}, fmt.Errorf("walk table: bucket %d: %w", i, err))
				return
			}
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// entries copies the entries of a bucket.
func (t *Table) entries(bucket *atomic.Uint64) (entries []Entry, err error) {
	defer t.h.Catch("read", debug.SetPanicOnFault(true), &err)
	for left := arenamem.MaxTries; left > 0; left -= 1 + len(entries) {
		head := bucket.Load()
		entries, err = t.chain(uint32(head))
		if bucket.Load() == head {
			return entries, err
		}
	}
	return nil, ErrContended
}

// chain copies the entries of the chain that begins with node ref. They are consistent only if the
// bucket's word is still the same afterwards.
func (t *Table) chain(ref uint32) (entries []Entry, err error) {
	for ref != 0 {
		n := t.node(ref)
		if n == nil {
			return entries, fmt.Errorf("%w: a bucket or node points to %#x, where no node can be", ErrCorrupt, t.h.Address(ref))
		}
		if len(entries) == maxChain {
			return entries, fmt.Errorf("%w: it has more than %d keys", ErrCorrupt, maxChain)
		}
		e := Entry{make([]byte, 8*t.keyWords), make([]byte, t.valueSize)}
		t.copyKey(e.Key, n)
		e.Key = e.Key[:t.keySize]
		t.copyValue(e.Value, n)
		entries = append(entries, e)
		ref = atomic.LoadUint32(&n.next)
	}
	return entries, nil
}

// copyKey copies n's key to to, padded to whole words.
func (t *Table) copyKey(to []byte, n *node) {
	for i, words := 0, t.words(n); i < t.keyWords; i++ {
		binary.LittleEndian.PutUint64(to[8*i:], atomic.LoadUint64(&words[i]))
	}
}

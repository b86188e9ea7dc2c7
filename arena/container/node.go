package container

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/rbtool/rbtool/internal/order"
)

// hash is the same function as arena_hash in C. It hashes the key's words; the last word is padded with
// zeros.
func (t *Table) hash(key []byte) uint64 {
	hash := t.seed
	for len(key) >= 8 {
		hash = (hash ^ binary.LittleEndian.Uint64(key)) * 0x9e3779b97f4a7c15
		hash ^= hash >> 32
		key = key[8:]
	}
	if len(key) > 0 {
		hash = (hash ^ lastWord(key)) * 0x9e3779b97f4a7c15
		hash ^= hash >> 32
	}
	hash *= 0xd6e8feb86659fd93
	return hash ^ hash>>32
}

// lastWord returns fewer than 8 bytes as a word, padded with zeros.
func lastWord(b []byte) (w uint64) {
	for i, c := range b {
		w |= uint64(c) << (8 * i)
	}
	return w
}

func (t *Table) bucket(hash uint64) *atomic.Uint64 {
	return &t.buckets[hash&uint64(len(t.buckets)-1)]
}

// find searches for key in the chain that begins with node ref. It returns the node, or nil, and the
// number of nodes before it. The result is valid only if the bucket's word is still the same afterwards.
func (t *Table) find(ref uint32, hash uint64, key []byte) (found *node, depth int, err error) {
	for ref != 0 {
		n := t.node(ref)
		if n == nil {
			return nil, depth, fmt.Errorf("%w: a bucket or node points to %#x, where no node can be", ErrCorrupt, t.h.Address(ref))
		}
		if t.hasKey(n, hash, key) {
			return n, depth, nil
		}
		if depth++; depth > maxChain {
			return nil, depth, fmt.Errorf("%w: a bucket has more than %d keys", ErrCorrupt, maxChain)
		}
		ref = atomic.LoadUint32(&n.next)
	}
	return nil, depth, nil
}

// node returns the node of a reference, or nil if it is not in the heap or not a multiple of 8. The
// caller has checked that the arena is open.
//
// SAFETY: lastNode is the largest offset at which a node lies wholly in the mapping.
func (t *Table) node(ref uint32) *node {
	off := uint64(ref-t.h.Low) - t.h.Start // larger than lastNode if ref lies before the heap
	if off > t.lastNode || ref%8 != 0 {
		return nil
	}
	return (*node)(unsafe.Add(t.h.Mem.Addr, t.h.Start+off))
}

// words returns the words of n's key and value.
//
// SAFETY: n comes from Table.node, which checks that all its words are in the mapping.
func (t *Table) words(n *node) []uint64 {
	return unsafe.Slice((*uint64)(unsafe.Add(unsafe.Pointer(n), nodeSize)), t.keyWords+t.valueWords)
}

func (t *Table) hasKey(n *node, hash uint64, key []byte) bool {
	if len(key) == 8 {
		return atomic.LoadUint64(&t.words(n)[0]) == binary.LittleEndian.Uint64(key)
	}
	return atomic.LoadUint32(&n.hash) == uint32(hash>>32) && t.hasLongKey(n, key)
}

func (t *Table) hasLongKey(n *node, key []byte) bool {
	words := t.words(n)
	for len(key) >= 8 {
		if atomic.LoadUint64(&words[0]) != binary.LittleEndian.Uint64(key) {
			return false
		}
		words, key = words[1:], key[8:]
	}
	return len(key) == 0 || atomic.LoadUint64(&words[0]) == lastWord(key)
}

// copyValue copies n's value to to. All its loads happen before the caller's next load of the bucket: if
// the bucket's word is the same then, the copy is consistent.
func (t *Table) copyValue(to []byte, n *node) {
	copy(to, t.valueOf(n))
	order.LoadFence() // litmus table-lookup
}

// setKey sets the key of a node that is not in the table yet.
func (t *Table) setKey(ref uint32, hash uint64, key []byte) {
	n := t.node(ref)
	n.hash = uint32(hash >> 32)
	words := t.words(n)
	for i := range words[:t.keyWords] {
		if len(key) >= 8 {
			words[i], key = binary.LittleEndian.Uint64(key), key[8:]
		} else {
			words[i] = lastWord(key)
		}
	}
}

// valueOf returns n's value, padded to whole words.
//
// SAFETY: n comes from Table.node, which checks that all its words are in the mapping.
func (t *Table) valueOf(n *node) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(n), nodeSize+8*uint64(t.keyWords))), 8*t.valueWords)
}

// freeNodes frees the first n nodes of the chain that begins with ref. No bucket may lead to them.
func (t *Table) freeNodes(ref uint32, n int) {
	for range n {
		at := t.node(ref)
		if at == nil {
			return
		}
		next := atomic.LoadUint32(&at.next)
		t.h.Free(ref)
		ref = next
	}
}

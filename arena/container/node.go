package container

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"unsafe"
)

// hash is arena_hash: of the key's words, the last one filled up with zeros.
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

// lastWord is the word of less than 8 bytes.
func lastWord(b []byte) (w uint64) {
	for i, c := range b {
		w |= uint64(c) << (8 * i)
	}
	return w
}

func (t *Table) bucket(hash uint64) *atomic.Uint64 {
	return &t.buckets[hash&uint64(len(t.buckets)-1)]
}

// find looks for key in the chain from ref on. What others change meanwhile makes the
// answer wrong: it holds if the bucket's word is the same afterwards. depth is how
// many nodes come before the one found.
func (t *Table) find(ref uint32, hash uint64, key []byte) (found *node, depth int, err error) {
	for ref != 0 {
		n := t.node(ref)
		if n == nil {
			return nil, depth, fmt.Errorf("%w: a node leads to %#x", ErrCorrupt, t.h.Address(ref))
		}
		if t.hasKey(n, hash, key) {
			return n, depth, nil
		}
		if depth++; depth > maxChain {
			return nil, depth, fmt.Errorf("%w: a bucket with more than %d keys", ErrCorrupt, maxChain)
		}
		ref = atomic.LoadUint32(&n.next)
	}
	return nil, depth, nil
}

// node returns the node of a reference: nil where it does not lie in the heap, or the
// reference is no multiple of 8. The caller has checked that the arena is open.
//
// SAFETY: nodeBytes from there on lie in the mapping.
func (t *Table) node(ref uint32) *node {
	off := uint64(ref-t.h.Low) - t.h.Start // huge when it lies before the heap
	if off > t.lastNode || ref%8 != 0 {
		return nil
	}
	return (*node)(unsafe.Add(t.h.Mem.Addr, t.h.Start+off))
}

// words are n's key and value.
//
// SAFETY of this and what uses it: n comes from node.
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

// copyValue copies n's value. Its loads come before the caller's next load of the bucket, which proves
// the value unchanged.
func (t *Table) copyValue(to []byte, n *node) {
	copy(to, t.valueOf(n))
	fence() // copy may load in any order
}

// setKey prepares a node that is not in the table yet.
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

// valueOf is the value of a node, as whole words.
func (t *Table) valueOf(n *node) []byte {
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(n), nodeSize+8*uint64(t.keyWords))), 8*t.valueWords)
}

// freeNodes frees n nodes of a chain that nobody else changes.
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

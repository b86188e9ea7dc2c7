package container

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/arenamem"
)

// change is a change of one bucket. It owns the new nodes until the compare-and-swap succeeds.
type change struct {
	t      *Table
	key    []byte
	hash   uint64
	flags  ebpf.MapUpdateFlags
	bucket *atomic.Uint64

	head  uint64 // the bucket's word when it was read
	old   *node  // the key's node, or nil
	depth int    // number of nodes before old

	fresh  uint32 // reference to the new node, or 0
	first  uint32 // reference to the first of the copies, then to the rest of the chain
	copies int    // number of copies of the nodes before old
	made   bool   // the compare-and-swap has succeeded
}

// errChanged means that the bucket has changed: try again.
var errChanged = errors.New("bucket was changed")

// Put sets the value of key. Both slices must have the table's sizes, and are copied. With
// [ebpf.UpdateAny], Put adds the key or replaces its value. With [ebpf.UpdateNoExist], it fails with
// [ErrExists] if the key exists. With [ebpf.UpdateExist], it fails with [ErrNotFound] if the key does not
// exist. Other errors: [ErrFull], [ErrContended], [ErrCorrupt], [arena.ErrAbsent].
func (t *Table) Put(key, value []byte, flags ebpf.MapUpdateFlags) error {
	if t.h.Mem.Size == 0 || len(key) != t.keySize || len(value) != t.valueSize {
		return t.sizeError(key, value)
	}
	c := t.change(key, flags)
	return c.repeat("put", func() error { return c.put(value) })
}

// Update copies the value of key, calls change to edit the copy, and stores the result. No other change of
// the key comes in between. The copy is never torn, and valid until change returns. If the key does not
// exist, change gets zeros, and there is false. If others change the bucket meanwhile, Update calls change
// again with the newer value: change should have no other effect. Flags and errors are those of
// [Table.Put].
func (t *Table) Update(key []byte, flags ebpf.MapUpdateFlags, change func(value []byte, there bool)) error {
	if t.h.Mem.Size == 0 || len(key) != t.keySize {
		return t.sizeError(key, nil)
	}
	value := make([]byte, t.valueSize)
	c := t.change(key, flags)
	return c.repeat("put", func() error {
		if err := c.get(value); err != nil {
			return err
		}
		change(value, c.old != nil) // not guarded: a fault in the caller's function panics
		return c.replace(value)
	})
}

// Delete deletes key, which must have the table's size. Errors: [ErrNotFound], [ErrFull], [ErrContended],
// [ErrCorrupt], [arena.ErrAbsent].
func (t *Table) Delete(key []byte) error {
	if t.h.Mem.Size == 0 || len(key) != t.keySize {
		return t.sizeError(key, nil)
	}
	c := t.change(key, ebpf.UpdateExist)
	return c.repeat("delete", c.remove)
}

func (t *Table) change(key []byte, flags ebpf.MapUpdateFlags) change {
	hash := t.hash(key)
	return change{t: t, key: key, hash: hash, flags: flags, bucket: t.bucket(hash)}
}

// repeat calls try until no other change interferes. It returns nil once the compare-and-swap has
// succeeded: if freeing the old nodes fails after that, they are lost.
func (c *change) repeat(verb string, try func() error) error {
	for left := arenamem.MaxTries; left > 0; left -= 1 + c.depth {
		err := try()
		if c.made {
			return nil
		}
		if err == errChanged {
			continue
		}
		c.discard()
		if errors.Is(err, ErrFull) {
			return fmt.Errorf("%s: %w", verb, err)
		}
		return err
	}
	c.discard()
	return ErrContended
}

// put attempts a Put once.
func (c *change) put(value []byte) (err error) {
	defer c.t.h.Catch("change table", debug.SetPanicOnFault(true), &err)
	if err := c.find(); err != nil {
		return err
	}
	return c.exchange(value)
}

// get attempts the first half of an Update once: it copies the value of the key, or zeros. It returns
// errChanged if the bucket changed during the copy.
func (c *change) get(value []byte) (err error) {
	defer c.t.h.Catch("change table", debug.SetPanicOnFault(true), &err)
	if err := c.find(); err != nil {
		return err
	}
	if c.old == nil {
		clear(value)
		return nil
	}
	c.t.copyValue(value, c.old)
	// Partner: the compare-and-swap of another change, as in Lookup (litmus table-lookup).
	if c.bucket.Load() != c.head {
		return errChanged
	}
	return nil
}

// replace attempts the second half of an Update once: it stores the value.
func (c *change) replace(value []byte) (err error) {
	defer c.t.h.Catch("change table", debug.SetPanicOnFault(true), &err)
	return c.exchange(value)
}

// remove attempts a Delete once.
func (c *change) remove() (err error) {
	defer c.t.h.Catch("change table", debug.SetPanicOnFault(true), &err)
	if err := c.find(); err != nil {
		return err
	}
	if err := c.copyNodes(atomic.LoadUint32(&c.old.next)); err != nil {
		return err
	}
	return c.swap(c.first)
}

// find loads the bucket's word into head and sets old and depth for the key.
func (c *change) find() (err error) {
	c.head = c.bucket.Load()
	c.old, c.depth, err = c.t.find(uint32(c.head), c.hash, c.key)
	if c.bucket.Load() != c.head {
		return errChanged
	}
	switch {
	case err != nil:
		return err
	case c.old != nil && c.flags == ebpf.UpdateNoExist:
		return ErrExists
	case c.old == nil && c.flags == ebpf.UpdateExist:
		return ErrNotFound
	}
	return nil
}

// exchange puts a new node with the value into the bucket, in place of the old node if there is one.
func (c *change) exchange(value []byte) (err error) {
	t := c.t
	if c.fresh == 0 {
		if c.fresh, err = t.h.Alloc(t.nodeBytes); err != nil {
			return err
		}
		t.setKey(c.fresh, c.hash, c.key)
	}
	fresh := t.node(c.fresh)
	words := t.valueOf(fresh)
	clear(words[copy(words, value):])
	next := uint32(c.head)
	if c.old != nil {
		if err := c.copyNodes(atomic.LoadUint32(&c.old.next)); err != nil {
			return err
		}
		next = c.first
	}
	atomic.StoreUint32(&fresh.next, next)
	return c.swap(c.fresh)
}

// swap publishes ref as the bucket's first node (litmus table-update). If it succeeds, the nodes that
// copyNodes copied were not reused before that (litmus table-replace).
func (c *change) swap(ref uint32) error {
	t := c.t
	if !c.bucket.CompareAndSwap(c.head, arenamem.Tagged(c.head, ref)) {
		c.freeCopies()
		return errChanged
	}
	c.made = true
	switch {
	case c.old == nil:
		t.t.count.Add(1)
		return nil
	case c.fresh == 0:
		t.t.count.Add(-1)
	}
	t.freeNodes(uint32(c.head), c.depth+1)
	return nil
}

// copyNodes copies the nodes before old, puts the copies in front of tail in reverse order, and sets
// first.
func (c *change) copyNodes(tail uint32) error {
	t, ref := c.t, uint32(c.head)
	c.first, c.copies = tail, 0
	for range c.depth {
		from := t.node(ref)
		if from == nil {
			c.freeCopies()
			return errChanged
		}
		fresh, err := t.h.Alloc(t.nodeBytes)
		if err != nil {
			return err
		}
		to := t.node(fresh)
		copy(t.words(to), t.words(from))
		to.hash, to.next = atomic.LoadUint32(&from.hash), c.first
		c.first, ref = fresh, atomic.LoadUint32(&from.next)
		c.copies++
	}
	return nil
}

// freeCopies frees the copies. It sets copies to 0 first: after a fault, the remaining copies are lost.
func (c *change) freeCopies() {
	n := c.copies
	c.copies = 0
	c.t.freeNodes(c.first, n)
}

// discard frees the nodes of a failed change.
func (c *change) discard() {
	fresh := c.fresh
	c.fresh = 0
	_ = c.t.h.Mem.Guard(func() error { // blocks that cannot be freed, because a page is absent, are lost
		c.freeCopies()
		if fresh != 0 {
			return c.t.h.Free(fresh)
		}
		return nil
	})
}

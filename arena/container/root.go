package container

import (
	"bytes"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"unsafe"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/internal/arenamem"
)

// Kind is the type of a root's object.
type Kind uint32

// Kinds of roots. Applications may use the kinds from KindUser on.
const (
	KindList  Kind = 1
	KindTable Kind = 2
	KindQueue Kind = 3
	KindUser  Kind = 1 << 16
)

// String returns the name of a kind of this package, or its number.
func (k Kind) String() string {
	switch k {
	case KindList:
		return "list"
	case KindTable:
		return "table"
	case KindQueue:
		return "queue"
	}
	return fmt.Sprintf("kind %d", uint32(k))
}

// maxRootName is the length of the longest name, in bytes.
const maxRootName = 31

// root mirrors struct arena_root. It is constant once it is published.
type root struct {
	kind uint32
	ref  uint32
	name [maxRootName + 1]byte
}

// Root is a named object in the heap. Programs find it by its number.
type Root struct {
	Number uint32          // 0 to 31, in the order of creation
	Name   string          // 1 to 31 bytes
	Kind   Kind            // what Ptr points to
	Ptr    arena.Ptr[byte] // the object
}

// AddRoot publishes the object at p, a multiple of 8 in the heap, under a name of 1 to 31 bytes, none of
// which is 0. The name must be new in the heap, whatever the kind. A root cannot be removed: do not free
// the object. A heap has at most 32 roots, including lists, tables and queues. If several callers add the
// same name at once, one succeeds. Errors: [ErrExists], [ErrFull], [ErrTooLarge] for the name,
// [ErrContended], [ErrCorrupt], [arena.ErrPointer], [arena.ErrAbsent].
func (h *Heap) AddRoot(name string, kind Kind, p arena.Ptr[byte]) (Root, error) {
	r, err := h.addRoot(name, kind, uint32(p))
	if err != nil {
		return Root{}, fmt.Errorf("add root %q: %w", name, err)
	}
	return r, nil
}

func (h *Heap) addRoot(name string, kind Kind, ref uint32) (Root, error) {
	if name == "" || len(name) > maxRootName || bytes.IndexByte([]byte(name), 0) >= 0 {
		return Root{}, fmt.Errorf("%w: name has %d bytes, not 1 to %d without zero bytes", ErrTooLarge, len(name), maxRootName)
	}
	if h.h.At(ref, 8) == nil {
		return Root{}, h.h.Mem.PointerError(h.h.Address(ref), 8, 8)
	}
	p, r, err := New[root](h)
	if err != nil {
		return Root{}, err
	}
	there, err := h.publish(arena.Ptr[byte](p), r, root{kind: uint32(kind), ref: ref}, name)
	if err != nil {
		h.Free(arena.Ptr[byte](p))
	}
	return there, err
}

// publish stores is and name in r, the root at p, and adds it at the first free number by a
// compare-and-swap, which publishes the root and its object (litmus root-add).
func (h *Heap) publish(p arena.Ptr[byte], r *root, is root, name string) (there Root, err error) {
	defer h.h.Catch("publish", debug.SetPanicOnFault(true), &err)
	copy(is.name[:], name)
	*r = is
	// Roots are added at the first free number and never removed. If another root has the same name,
	// this loop therefore finds it before a free number.
	for i := range uint32(arenamem.MaxRoots) {
		if atomic.CompareAndSwapUint64(&h.h.Super.Roots[i], 0, uint64(uint32(p))) {
			return Root{i, name, Kind(is.kind), arena.Ptr[byte](h.h.Address(is.ref))}, nil
		}
		there, err := h.rootAt(i)
		if err == nil && there.Name == name {
			err = ErrExists
		}
		if err != nil {
			return there, err
		}
	}
	return Root{}, fmt.Errorf("%w: the heap has %d roots already", ErrFull, arenamem.MaxRoots)
}

// rootAt returns root i, which exists.
func (h *Heap) rootAt(i uint32) (Root, error) {
	ref := uint32(atomic.LoadUint64(&h.h.Super.Roots[i]))
	// SAFETY: At returns nil unless the whole root lies in the mapping.
	r := (*root)(h.h.At(ref, uint64(unsafe.Sizeof(root{}))))
	if r == nil {
		return Root{}, fmt.Errorf("%w: root %d has the reference %#x, not in the heap", ErrCorrupt, i, ref)
	}
	name, _, _ := bytes.Cut(r.name[:], []byte{0})
	return Root{i, string(name), Kind(r.kind), arena.Ptr[byte](h.h.Address(r.ref))}, nil
}

// Roots returns all roots, sorted by number. Errors: [ErrCorrupt], [arena.ErrAbsent].
func (h *Heap) Roots() (roots []Root, err error) {
	if h.h.Mem.Size == 0 {
		return nil, arenamem.ErrClosed
	}
	defer h.h.Catch("list roots", debug.SetPanicOnFault(true), &err)
	for i := range uint32(arenamem.MaxRoots) {
		if atomic.LoadUint64(&h.h.Super.Roots[i]) == 0 {
			break
		}
		r, err := h.rootAt(i)
		if err != nil {
			return roots, fmt.Errorf("list roots: %w", err)
		}
		roots = append(roots, r)
	}
	return roots, nil
}

// Root returns the root with this name. Errors: those of [Heap.Roots], [ErrNotFound], and [ErrFormat] if
// the root has another kind.
func (h *Heap) Root(name string, kind Kind) (Root, error) {
	roots, err := h.Roots()
	for _, r := range roots {
		if r.Name != name {
			continue
		}
		if r.Kind != kind {
			return r, fmt.Errorf("find root %q: %w: it is a %s, not a %s", name, ErrFormat, r.Kind, kind)
		}
		return r, nil
	}
	if err != nil {
		return Root{}, err
	}
	return Root{}, fmt.Errorf("find root %q: %w", name, ErrNotFound)
}

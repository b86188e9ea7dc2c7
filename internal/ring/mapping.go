package ring

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/syscall"
)

// Mapping is a ring mapped into this process:
//
//	page 0    consumer_pos
//	page 1    producer_pos, pending_pos, overwrite_pos
//	page 2..  size bytes of data, then the same bytes again
//
// The data is mapped twice, so a record that wraps around the ring's end is contiguous in memory.
//
// Access the memory only between Acquire and Release. After Close, the last user unmaps it. Any
// number of goroutines may call the methods at once; the caller decides which goroutine may move a
// position.
type Mapping struct {
	Positions
	data Data
	size uint64

	// users counts the calls of Acquire without a Release, in steps of oneUser. Its lowest bit is
	// closedBit.
	users   atomic.Int64
	regions []region
	cleanup runtime.Cleanup
}

// Positions are the two pages with the positions. They are valid as long as their Mapping is
// mapped.
type Positions struct {
	consumer unsafe.Pointer // page 0
	producer unsafe.Pointer // page 1
}

// region is the memory of one call of mmap(2).
type region struct {
	addr   unsafe.Pointer
	length uintptr
}

const (
	closedBit = 1
	oneUser   = 2
)

// claimOffset is the offset of the claim word in the page that the claiming process writes. It is
// on a cache line that the kernel does not use.
const claimOffset = 64

// creationOffset is the offset of the creation number in the consumer page of a RINGBUF: on a cache line that neither the
// kernel nor the claim uses.
const creationOffset = 256

// Offsets in the producer page, struct bpf_ringbuf (kernel/bpf/ringbuf.c).
const (
	pendingOffset   = 8
	overwriteOffset = 16
)

// refusalsOffset is the offset of [Refusals] in the producer page of a USER_RINGBUF: beyond the
// cache line of the claim word, which the producer loads for each sample, and the line that x86
// fetches with it.
const refusalsOffset = 128

// Consume maps a RINGBUF of size bytes for its consumer: page 0 writable, the rest read-only.
func Consume(fd int, size uint64) (*Mapping, error) {
	page := uintptr(os.Getpagesize())
	if err := check(size); err != nil {
		return nil, err
	}
	cons, err := mmap(fd, 0, page, unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		return nil, fmt.Errorf("map consumer page: %w", err)
	}
	rest, err := mmap(fd, int64(page), page+2*uintptr(size), unix.PROT_READ)
	if err != nil {
		cons.unmap()
		return nil, fmt.Errorf("map producer and data pages: %w", err)
	}
	return newMapping(cons.addr, rest.addr, size, cons, rest), nil
}

// Observe maps all of a RINGBUF or USER_RINGBUF of size bytes read-only.
func Observe(fd int, size uint64) (*Mapping, error) {
	page := uintptr(os.Getpagesize())
	if err := check(size); err != nil {
		return nil, err
	}
	all, err := mmap(fd, 0, 2*page+2*uintptr(size), unix.PROT_READ)
	if err != nil {
		return nil, fmt.Errorf("map ring read-only: %w", err)
	}
	// SAFETY: the mapping contains the two pages and the data.
	return newMapping(all.addr, unsafe.Add(all.addr, page), size, all), nil
}

func check(size uint64) error {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		return fmt.Errorf("%w: positions of a ring are 64-bit words only on 64-bit machines", ebpf.ErrNotSupported)
	}
	if size == 0 || size&(size-1) != 0 || size%uint64(os.Getpagesize()) != 0 {
		return fmt.Errorf("ring size %d must be a power of two and a multiple of the page size", size)
	}
	return nil
}

func mmap(fd int, offset int64, length uintptr, prot int) (region, error) {
	addr, err := syscall.Mmap(fd, offset, length, prot)
	if why, known := refusals[err]; known {
		err = fmt.Errorf("%w (%s)", err, why)
	}
	return region{addr, length}, err
}

// refusals explains the errors of mmap for a ring: see bpf_map_mmap (kernel/bpf/syscall.c) and
// remap_vmalloc_range (mm/vmalloc.c).
var refusals = map[error]string{
	unix.EPERM:  "these pages of this type of map are not mapped writable, or the map is frozen",
	unix.EACCES: "the map was opened read-only",
	unix.EINVAL: "the map was opened read-only, or is not a ring of this size",
	unix.ENOMEM: "no address space is left, or this process has too many mappings",
}

func (r region) unmap() error { return syscall.Munmap(r.addr, r.length) }

func newMapping(consumer, producer unsafe.Pointer, size uint64, regions ...region) *Mapping {
	m := &Mapping{
		Positions: Positions{consumer, producer},
		// SAFETY: the producer page is followed by the data in one mapping.
		data:    Data{base: unsafe.Add(producer, os.Getpagesize()), mask: (size - 1) &^ 7},
		size:    size,
		regions: regions,
	}
	// If a panic prevented a Release, the garbage collector unmaps the regions.
	m.cleanup = runtime.AddCleanup(m, func(regions []region) {
		for _, r := range regions {
			r.unmap()
		}
	}, regions)
	return m
}

// Size returns the size of the ring in bytes, a power of two.
func (m *Mapping) Size() uint64 { return m.size }

// Data returns the data area. It is valid between Acquire and Release.
func (m *Mapping) Data() Data { return m.data }

// Acquire keeps the memory mapped until Release. After Close it returns false.
func (m *Mapping) Acquire() bool {
	for {
		users := m.users.Load()
		if users&closedBit != 0 {
			return false
		}
		if m.users.CompareAndSwap(users, users+oneUser) {
			return true
		}
	}
}

// Release ends a successful Acquire. It returns true if the Mapping is closed and the caller was
// its last user. The caller must then call Unmap.
func (m *Mapping) Release() (last bool) { return m.users.Add(-oneUser) == closedBit }

// Close makes Acquire fail. It returns true if the memory has no user; then the caller must call
// Unmap. Otherwise the last user must. Only the first call of Close can return true.
func (m *Mapping) Close() (last bool) { return m.users.Or(closedBit) == 0 }

// Closed reports whether Close was called.
func (m *Mapping) Closed() bool { return m.users.Load()&closedBit != 0 }

// Unmap unmaps the memory. Call it only when Release or Close returns true, or when there are no
// other users.
func (m *Mapping) Unmap() error {
	m.cleanup.Stop()
	var errs []error
	for _, r := range m.regions {
		errs = append(errs, r.unmap())
	}
	m.regions = nil
	return errors.Join(errs...)
}

// ConsumerPos loads consumer_pos.
//
// SAFETY of this and the following accesses: the position words lie at fixed,
// aligned offsets in pages 0 and 1, which stay mapped until Release.
func (p Positions) ConsumerPos() Pos {
	return Pos(atomic.LoadUint64((*uint64)(p.consumer)))
}

// SetConsumerPos stores consumer_pos of a ring without another consumer. It is the same barrier as
// MoveConsumerPos (litmus consume-reuse, reserve-sleep).
func (p Positions) SetConsumerPos(pos Pos) {
	atomic.StoreUint64((*uint64)(p.consumer), uint64(pos))
}

// MoveConsumerPos sets consumer_pos to pos if it is still old. It is a full barrier with two
// partners.
//
// The store returns the space up to pos to the producer. Partner: the smp_load_acquire of
// consumer_pos in __bpf_ringbuf_reserve. Without the barrier the producer could overwrite a record
// before it was read (litmus consume-reuse).
//
// The store is ordered before the next load by Header or ProducerPos. Partner: the xchg of the
// header in bpf_ringbuf_commit, which is ordered before the load of consumer_pos there. At least
// one side sees the store of the other. So a consumer that checks the ring after this store either
// finds the new record or is woken for it (litmus commit-sleep, reserve-sleep). A robbed Reader
// stores nothing (litmus claim-rob).
func (p Positions) MoveConsumerPos(old, pos Pos) bool {
	return atomic.CompareAndSwapUint64((*uint64)(p.consumer), uint64(old), uint64(pos))
}

// ProducerPos loads producer_pos. Partner: the smp_store_release in __bpf_ringbuf_reserve. Headers
// below the position are then initialised (litmus reserve-commit-consume).
func (p Positions) ProducerPos() Pos {
	return Pos(atomic.LoadUint64((*uint64)(p.producer)))
}

// PendingPos loads pending_pos, the position of the oldest record that was not committed at the
// last reservation. Only kernels from 6.10 on, and backports, have it.
func (p Positions) PendingPos() Pos {
	return Pos(atomic.LoadUint64((*uint64)(unsafe.Add(p.producer, pendingOffset))))
}

// OverwritePos loads overwrite_pos, the position of the oldest record that is not overwritten. Only
// rings with BPF_F_RB_OVERWRITE have it. Load it after ProducerPos, because the kernel stores it
// before producer_pos (__bpf_ringbuf_reserve).
func (p Positions) OverwritePos() Pos {
	return Pos(atomic.LoadUint64((*uint64)(unsafe.Add(p.producer, overwriteOffset))))
}

// ConsumerClaim returns the word in the consumer page that names the consumer, 0 if unclaimed. The
// kernel ignores it. See package claim.
func (p Positions) ConsumerClaim() *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Add(p.consumer, claimOffset))
}

// Creation returns the word in the consumer page of a RINGBUF that tells the ring from a later one with the same id, 0 if it
// has no number yet. The kernel zeroes the page when it creates the ring, and ignores the word. Its partners are other callers of
// Creation: the first compare-and-swap from 0 decides.
func (p Positions) Creation() *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Add(p.consumer, creationOffset))
}

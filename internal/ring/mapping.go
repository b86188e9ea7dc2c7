package ring

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/syscall"
)

// ErrNotSupported says that the layout of the position pages is not known
// for this machine: the kernel's positions are unsigned long, and only 64-bit
// ones are handled.
var ErrNotSupported = errors.New("not supported on 32-bit machines")

// Mapping is the memory of one ring as this process sees it:
//
//	page 0    consumer_pos
//	page 1    producer_pos, pending_pos, overwrite_pos
//	page 2..  size bytes of data, then the same bytes again
//
// Because the data is there twice, a record that wraps around the ring's end
// is contiguous in memory.
//
// Accesses are made between Acquire and Release; Close unmaps when the last
// one is released. All methods may be called by many goroutines at once; who may
// move a position is the caller's matter.
type Mapping struct {
	Positions
	data Data
	size uint64

	// users counts the Acquires that were not released yet, in steps of
	// one user; the lowest bit says closed.
	users   atomic.Int64
	regions []region
	cleanup runtime.Cleanup
}

// Positions are the two pages with the positions. They are valid as long as the Mapping
// they are of.
type Positions struct {
	consumer unsafe.Pointer // page 0
	producer unsafe.Pointer // page 1
}

// region is one mmap(2).
type region struct {
	addr   unsafe.Pointer
	length uintptr
}

const (
	closedBit = 1
	oneUser   = 2
)

// claimOffset is where in the consumer page of a RINGBUF its consumer says who it
// is: a word on a cache line that the kernel does not use.
const claimOffset = 64

// Offsets in the producer page, struct bpf_ringbuf (kernel/bpf/ringbuf.c).
const (
	pendingOffset   = 8
	overwriteOffset = 16
)

// Consume maps the RINGBUF of size bytes that fd refers to for its consumer:
// page 0 writable, the rest read-only.
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
	// SAFETY: the mapping is two pages and the data long.
	return newMapping(all.addr, unsafe.Add(all.addr, page), size, all), nil
}

func check(size uint64) error {
	if unsafe.Sizeof(uintptr(0)) != 8 {
		return ErrNotSupported
	}
	if size == 0 || size&(size-1) != 0 || size%uint64(os.Getpagesize()) != 0 {
		return fmt.Errorf("ring size %d is not a power of two and a multiple of the page size", size)
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

// refusals are the errors of mmap whose meaning for a ring is known: see
// bpf_map_mmap (kernel/bpf/syscall.c) and remap_vmalloc_range (mm/vmalloc.c).
var refusals = map[error]string{
	unix.EPERM:  "these pages of this type of map are not mapped writable, or the map is frozen",
	unix.EACCES: "the map was opened read-only",
	unix.EINVAL: "the map was opened read-only, or is no ring of this size",
	unix.ENOMEM: "no address space is left, or this process has too many mappings",
}

func (r region) unmap() error { return syscall.Munmap(r.addr, r.length) }

func newMapping(consumer, producer unsafe.Pointer, size uint64, regions ...region) *Mapping {
	m := &Mapping{
		Positions: Positions{consumer, producer},
		// SAFETY: the producer page is followed by the data in one mapping.
		data:    Data{base: unsafe.Add(producer, os.Getpagesize()), mask: size - 1},
		size:    size,
		regions: regions,
	}
	// The backstop for an Acquire whose Release a panic prevented.
	m.cleanup = runtime.AddCleanup(m, func(regions []region) {
		for _, r := range regions {
			r.unmap()
		}
	}, regions)
	return m
}

// Size is the ring's size in bytes, a power of two.
func (m *Mapping) Size() uint64 { return m.size }

// Data returns the data area. It is valid between Acquire and Release.
func (m *Mapping) Data() Data { return m.data }

// Acquire keeps the memory mapped until Release. It returns false, and keeps
// nothing, after Close.
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

// Release ends what a successful Acquire began. It returns true to the last
// user of a closed Mapping, who must call Unmap.
func (m *Mapping) Release() (last bool) { return m.users.Add(-oneUser) == closedBit }

// Close makes Acquire fail from now on. It returns true when nobody uses the
// memory; then the caller must call Unmap, else the last user will. Only the
// first call can return true.
func (m *Mapping) Close() (last bool) { return m.users.Or(closedBit) == 0 }

// Closed reports whether Close was called.
func (m *Mapping) Closed() bool { return m.users.Load()&closedBit != 0 }

// Unmap gives the memory back. See Release and Close.
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

// SetConsumerPos stores consumer_pos. It is for a ring that has no other consumer, and
// otherwise as MoveConsumerPos.
func (p Positions) SetConsumerPos(pos Pos) {
	atomic.StoreUint64((*uint64)(p.consumer), uint64(pos))
}

// MoveConsumerPos stores consumer_pos if it is still old, as a full barrier. It gives
// the space up to pos back to the producer, whose partner is the smp_load_acquire of
// consumer_pos in __bpf_ringbuf_reserve: without it the producer could write over
// a record before it was read. The barrier orders it before the next Header or
// ProducerPos load; its partner is the xchg of the header in
// bpf_ringbuf_commit, which comes before the producer looks at consumer_pos: one of
// the two sees the other's store, so a consumer that looks again after this
// store either finds the new record or is woken for it.
func (p Positions) MoveConsumerPos(old, pos Pos) bool {
	return atomic.CompareAndSwapUint64((*uint64)(p.consumer), uint64(old), uint64(pos))
}

// ProducerPos loads producer_pos. Its partner is the smp_store_release in
// __bpf_ringbuf_reserve: headers below the position are initialised.
func (p Positions) ProducerPos() Pos {
	return Pos(atomic.LoadUint64((*uint64)(p.producer)))
}

// PendingPos loads pending_pos: the oldest uncommitted record, as of the last
// reservation. Meaningful only where the kernel has it (6.10 and backports).
func (p Positions) PendingPos() Pos {
	return Pos(atomic.LoadUint64((*uint64)(unsafe.Add(p.producer, pendingOffset))))
}

// OverwritePos loads overwrite_pos: where the oldest record that was not
// overwritten begins. Meaningful only in a ring with BPF_F_RB_OVERWRITE. Load it
// after ProducerPos: the kernel stores it before (__bpf_ringbuf_reserve).
func (p Positions) OverwritePos() Pos {
	return Pos(atomic.LoadUint64((*uint64)(unsafe.Add(p.producer, overwriteOffset))))
}

// ConsumerClaim is the word in the consumer page that names the consumer, 0 when
// nobody does. It is a convention of processes; the kernel does not know it.
func (p Positions) ConsumerClaim() *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Add(p.consumer, claimOffset))
}

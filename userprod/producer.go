package userprod

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/claim"
	"github.com/rbtool/rbtool/internal/once"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/syscall"
	"github.com/rbtool/rbtool/internal/userring"
)

// Options change how [New] opens a ring and how calls wait. The zero value suits most uses.
type Options struct {
	// Timer is how often a waiting call checks the ring without a wakeup: a program that drains
	// with BPF_RB_NO_WAKEUP wakes no producer. Zero means 100 ms, a negative value never.
	Timer time.Duration

	// Mend makes New repair a ring whose positions or headers are inconsistent: it discards
	// everything after the last valid sample. Without Mend, New fails with [ErrCorrupt].
	Mend bool

	// Steal makes New take the ring from a holder that this process cannot see and that may have
	// ended, see [BusyError].Unseen. If that holder is alive, its next publication fails with
	// [ErrBusy], but the sample that it is writing may overwrite a sample of this Producer. New
	// never takes the ring from a holder that is known to be alive.
	Steal bool

	// Claimed, if not nil, is called after New has claimed the ring and before New changes the
	// contents of the ring. If it fails, New releases the claim and returns an error that wraps its
	// error. Use it to look for producers without a claim, such as libbpf.
	Claimed func() error
}

func (o Options) timer() time.Duration {
	if o.Timer == 0 {
		return 100 * time.Millisecond
	}
	return max(o.Timer, 0)
}

// Producer writes samples into one ring. It is the only producer of the ring: it holds the claim
// from [New] until Close or the end of the process. The caller must close it. Any number of
// goroutines may call its methods at once.
//
//	consumer_pos          head                             consumer_pos + size
//	|  drained next  ...  |  of a Batch, not     |  free    |
//	|  by the kernel      |  published yet       |          |
//
// head is the position at which the next sample begins, and equals producer_pos. Samples of a Batch
// that are not published yet lie after head.
type Producer struct {
	// The fields that every sample needs come first, in two or three cache lines.
	pos    ring.Positions
	data   ring.Data
	max    uint64 // size of the largest sample in bytes
	claim  claim.ID
	failed atomic.Pointer[error] // error of all calls after Close, or if the ring is corrupt or stolen

	mu    lock     // held to reserve room at head, and to move head and producer_pos
	head  ring.Pos // producer_pos
	limit ring.Pos // end of the room: the last consumer_pos loaded, plus size
	plain any      // nil pointer to the last type that checkPlain found to have no pointers

	mem    *ring.Mapping
	size   uint64 // size of the ring in bytes
	poller *syscall.Poller
	timer  time.Duration
	found  userring.Recovery
	noRoom noRoom // when room last found none

	turn  chan struct{} // held by the goroutine that waits in the poller; others wait for it
	queue atomic.Int32  // number of goroutines that hold the turn or wait for it
	done  chan struct{} // closed by Close

	closed once.Value[struct{}] // Close has succeeded
	end    sync.Once            // endWaits
	own    *ring.Mapping        // second mapping of the ring, used only by Close
	endErr error                // of endWaits

	waits, late atomic.Uint64
}

// New claims m, a map of type UserRingbuf that was opened for reading and writing, and returns a
// Producer. The Producer keeps its own descriptor and mappings: m may be closed. New discards the
// samples that a dead producer left busy, see [Stats].
//
// The claim excludes other users of this package, in all processes and pid namespaces: New fails
// with [ErrBusy] while one of them has claimed the ring and is alive. A producer without a claim,
// such as libbpf, is neither detected nor excluded: see [Options].Claimed. Other errors match
// [ErrCorrupt] if the ring must be mended, [os.ErrPermission] if the map is frozen, or
// [ebpf.ErrNotSupported] on 32-bit and big-endian machines.
//
// New uses only the descriptor and the pages of the map. If the ring is claimed already, New looks
// for the holder in /proc or with a BPF program.
//
// See ringbuf_map_mmap_user and ringbuf_map_poll_user (kernel/bpf/ringbuf.c).
func New(m *ebpf.Map, opts Options) (*Producer, error) {
	p, err := open(m, opts)
	if err != nil {
		return nil, fmt.Errorf("write ring %s: %w", m, err)
	}
	return p, nil
}

func open(m *ebpf.Map, opts Options) (*Producer, error) {
	if err := userring.CheckType(m); err != nil {
		return nil, err
	}
	id, mem, err := claimRing(m, opts)
	if err != nil {
		return nil, err
	}
	p, err := newProducer(mem, opts)
	if err == nil {
		p.poller, err = syscall.NewWritePoller(m.FD())
	}
	if err != nil {
		id.Release(mem.ProducerClaim())
		return nil, errors.Join(err, mem.Unmap())
	}
	p.claim = id
	mem.Refusals().Begin()
	return p, nil
}

// newProducer returns a Producer that owns mem but has no claim and no poller yet. After an error
// the caller still owns mem.
func newProducer(mem *ring.Mapping, opts Options) (*Producer, error) {
	found, err := userring.Restore(mem, opts.Mend)
	if err != nil {
		return nil, err
	}
	pos, size := mem.ProducerPos(), mem.Size()
	p := &Producer{
		mem: mem, pos: mem.Positions, data: mem.Data(), size: size,
		max:   min(size-ring.HeaderSize, ring.MaxSample),
		timer: opts.timer(),
		found: found,
		turn:  make(chan struct{}, 1),
		done:  make(chan struct{}),
		head:  pos, limit: pos, // the first reservation loads consumer_pos
	}
	p.mu = newLock(p.done)
	return p, nil
}

// MaxSample returns the size in bytes of the largest sample that fits into the ring: the size of
// the ring less a header of 8 bytes, but at most 16 MiB - 1, the limit of a dynptr.
func (p *Producer) MaxSample() int { return int(p.max) }

// Close ends every wait, discards reserved samples, releases the claim, and makes later calls fail
// with [os.ErrClosed]. A call in progress may fail with os.ErrClosed although its sample was
// written. Close does not wait for the end of a [Batch]. It is idempotent.
//
// Close replaces the pages of the ring by private memory. If vm.overcommit_memory is 2, the kernel
// can refuse that. Samples and Batches could then still write into the ring, so Close fails and
// keeps the claim. It can be called again.
func (p *Producer) Close() error {
	_, err := p.closed.Get(func() (struct{}, error) { return struct{}{}, p.tryClose() })
	return err
}

func (p *Producer) tryClose() error {
	p.failed.Store(&errClosed)
	p.end.Do(p.endWaits)
	if err := p.mem.Retire(); err != nil {
		return errors.Join(p.endErr, fmt.Errorf("claim is kept, because this process can still write into the ring: %w", err))
	}
	own := p.own
	if p.own = nil; own == nil {
		return p.endErr
	}
	// Close succeeds even if the ring is corrupt. The samples in a stolen ring belong to the thief.
	if claim.ID(own.ProducerClaim().Load()) == p.claim {
		userring.Restore(own, false)
	}
	p.claim.Release(own.ProducerClaim())
	return errors.Join(p.endErr, own.Unmap())
}

// endWaits ends all waits. It maps the ring a second time, for Close only, because Retire replaces
// the memory of the first mapping.
func (p *Producer) endWaits() {
	close(p.done)
	var mapErr error
	err := p.poller.Do(func(fd int) {
		if p.own, mapErr = ring.Produce(fd, p.size); mapErr != nil {
			mapErr = fmt.Errorf("release the claim: %w", mapErr)
		}
	})
	p.endErr = errors.Join(err, mapErr, p.poller.Close())
}

// holds reports whether the ring still contains the claim of this Producer.
func (p *Producer) holds() bool { return claim.ID(p.pos.ProducerClaim().Load()) == p.claim }

// fail makes every later call fail with err, unless calls fail with another error already. It
// returns the error with which they fail.
func (p *Producer) fail(err error) error {
	p.failed.CompareAndSwap(nil, &err)
	return p.failure()
}

// failure returns the error with which all calls fail, or nil.
func (p *Producer) failure() error {
	if err := p.failed.Load(); err != nil {
		return *err
	}
	return nil
}

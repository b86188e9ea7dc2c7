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

// Options change how [New] opens a ring and how calls wait. The zero value is right for most
// uses.
type Options struct {
	// Timer is how often a waiting call checks the ring without being woken: a program that
	// drains with BPF_RB_NO_WAKEUP wakes no producer. Zero means 100 ms, a negative Timer
	// never.
	Timer time.Duration

	// Mend makes New repair a ring whose positions or headers are inconsistent: it discards
	// everything after the last valid sample. Without Mend, New fails with [ErrCorrupt].
	Mend bool

	// Steal makes New take the ring from a holder that cannot be seen from here and may have
	// ended, see [BusyError].Unseen. If that holder lives, its next publication fails with
	// [ErrBusy], but the sample it is writing may overwrite one of this Producer. A holder
	// that is known to live keeps the ring.
	Steal bool

	// Claimed, if not nil, is called when New has claimed the ring and not yet changed its
	// contents. If it fails, New releases the claim and returns the error. Use it to look
	// for producers that claim nothing, such as libbpf's.
	Claimed func() error
}

func (o Options) timer() time.Duration {
	if o.Timer == 0 {
		return 100 * time.Millisecond
	}
	return max(o.Timer, 0)
}

// Producer writes samples into one ring. It is the ring's only producer: it holds the ring's
// claim from [New] until Close or the end of the process. All methods may be called by many
// goroutines at once.
//
//	consumer_pos          head                             consumer_pos + size
//	|  drained next  ...  |  of a Batch, not     |  free    |
//	|  by the kernel      |  published yet       |          |
//
// head, where the next sample begins, is producer_pos.
type Producer struct {
	// What every sample needs comes first, in two or three cache lines.
	pos    ring.Positions
	data   ring.Data
	max    uint64 // bytes of the largest sample
	claim  claim.ID
	failed atomic.Pointer[error] // why all calls fail: closed, or a corrupt ring

	mu    lock     // held to take room at head and to advance head and producer_pos
	head  ring.Pos // producer_pos
	limit ring.Pos // where room ends: the last consumer_pos loaded, plus size
	plain any      // nil pointer to the last type found to hold no pointers, see checkPlain

	mem    *ring.Mapping
	size   uint64 // of the ring
	poller *syscall.Poller
	timer  time.Duration
	found  userring.Recovery

	turn  chan struct{} // held by the goroutine that waits in the poller
	queue atomic.Int32  // goroutines that want the turn
	done  chan struct{} // closed by Close

	closed once.Value[struct{}] // Close has succeeded
	end    sync.Once            // endWaits
	own    *ring.Mapping        // used by Close only, until it succeeds
	endErr error                // of endWaits

	waits, late atomic.Uint64
}

// New claims m, a map of type UserRingbuf, and returns its Producer, which keeps its own
// descriptor and mappings: m may be closed. It discards the samples that a dead producer
// left busy, see [Stats].
//
// The claim excludes other users of this package, in all processes and pid namespaces: New
// fails with [ErrBusy] while one of them lives. A producer that claims nothing, such as
// libbpf's, is neither found nor kept out, see [Options].Claimed. Other errors: [ErrCorrupt]
// if the ring must be mended; [os.ErrPermission] for a frozen map.
//
// New touches only the map's descriptor and its pages. If the ring is claimed already, it
// looks for the holder in /proc or with a BPF program.
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
	return p, nil
}

// newProducer returns a Producer without claim and poller. It takes over mem, unless it
// fails.
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

// MaxSample returns the size in bytes of the largest sample that fits the ring: the ring's
// size less a header, at most 16 MiB - 1, the limit of a dynptr.
func (p *Producer) MaxSample() int { return int(p.max) }

// Close ends every wait, discards reserved samples, releases the claim, and makes later calls
// fail with [os.ErrClosed]. A call that runs at the same time may fail with os.ErrClosed
// although its sample was written. Close does not wait for a [Batch]. It is idempotent.
//
// Close replaces the ring's pages by private memory. The kernel can refuse that if
// vm.overcommit_memory is 2. Samples and Batches could then still write into the ring, so
// Close fails and keeps the claim; call it again.
func (p *Producer) Close() error {
	_, err := p.closed.Get(func() (struct{}, error) { return struct{}{}, p.tryClose() })
	return err
}

func (p *Producer) tryClose() error {
	p.failed.Store(&errClosed)
	p.end.Do(p.endWaits)
	if err := p.mem.Retire(); err != nil {
		return errors.Join(p.endErr, fmt.Errorf("keep the claim, because this process can still write into the ring: %w", err))
	}
	own := p.own
	if p.own = nil; own == nil {
		return p.endErr
	}
	// Close succeeds on a corrupt ring too. The samples of a stolen ring belong to the thief.
	if claim.ID(own.ProducerClaim().Load()) == p.claim {
		userring.Restore(own, false)
	}
	p.claim.Release(own.ProducerClaim())
	return errors.Join(p.endErr, own.Unmap())
}

// endWaits ends all waits. It maps the ring again, for Close only: Retire takes the first
// mapping from Samples and Batches.
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

// holds reports whether this Producer still holds the claim.
func (p *Producer) holds() bool { return claim.ID(p.pos.ProducerClaim().Load()) == p.claim }

// fail makes every later call fail with err, unless they fail already, and returns their
// error.
func (p *Producer) fail(err error) error {
	p.failed.CompareAndSwap(nil, &err)
	return p.failure()
}

// failure returns why all calls fail, nil while they do not.
func (p *Producer) failure() error {
	if err := p.failed.Load(); err != nil {
		return *err
	}
	return nil
}

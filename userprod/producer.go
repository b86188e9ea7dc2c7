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

// DefaultTimer is the interval of the slow timer, see [Options].
const DefaultTimer = 100 * time.Millisecond

// Options change how a Producer opens its ring and waits. The zero value is right for most.
type Options struct {
	// Timer is how often a sleeping wait looks at the ring though nothing woke
	// it: programs that drain with BPF_RB_NO_WAKEUP wake nobody, and who
	// writes into the ring without right does not either. Zero is DefaultTimer,
	// negative is never.
	Timer time.Duration

	// Mend gets a ring going again whose positions or headers contradict each
	// other, so that the kernel cannot go on: everything behind the last
	// sample that makes sense is thrown away. Without it New fails with [ErrCorrupt].
	Mend bool

	// Steal makes New claim the ring from a holder that cannot be seen and may have ended:
	// see [BusyError].Unseen. If the holder lives, its next publication fails with
	// [ErrBusy], but the sample that it is writing may overwrite one of this Producer. A
	// holder that is known to live keeps the ring, unless certainly no process has the ring
	// mapped for producing: then the claim is forged.
	Steal bool

	// IgnoreForeign makes New not look for producers that, like libbpf's, do not
	// claim their ring. That look goes over all processes, with the kernel's iterators
	// where they can be used (CAP_BPF, CAP_PERFMON), else in /proc.
	IgnoreForeign bool

	// IgnoreUnseen makes New succeed although such a producer may be among processes that
	// cannot be seen. Without it New fails with [ErrUnseen]. Two producers in one ring
	// overwrite each other's samples.
	IgnoreUnseen bool
}

func (o Options) timer() time.Duration {
	if o.Timer == 0 {
		return DefaultTimer
	}
	return max(o.Timer, 0)
}

// Producer writes samples into one ring.
//
//	consumer_pos          head                             consumer_pos + size
//	|  drained next  ...  |  of a Batch, not     |  free    |
//	|  by the kernel      |  published yet       |          |
//
// Room is handed out at head, under mu, and head moved, with producer_pos: past complete
// samples, and past one that Reserve hands out, which is BUSY until it is complete.
type Producer struct {
	mem    *ring.Mapping
	pos    ring.Positions
	data   ring.Data
	size   uint64 // of the ring
	max    uint64 // bytes of the largest sample
	poller *syscall.Poller
	opts   Options
	claim  claim.ID
	found  userring.Recovery

	failed atomic.Pointer[error] // why nothing works any more: closed, or a corrupt ring
	turn   chan struct{}         // taken by the one who waits for room in the poller
	queue  atomic.Int32          // how many want the turn
	done   chan struct{}         // closed by Close

	closed once.Value[struct{}] // Close has succeeded
	end    sync.Once            // endWaits
	own    *ring.Mapping        // of Close alone, until it succeeds
	endErr error                // of endWaits

	waits, late atomic.Uint64

	mu    lock
	head  uint64 // producer_pos
	limit uint64 // where room ends: consumer_pos when last looked at, and size
	plain any    // nil pointer to the last type found to hold no pointers itself, see Append
}

// New returns a Producer for m, a map of type UserRingbuf of any size. It keeps
// its own descriptor and mappings; m may be closed. What a dead producer left
// BUSY is discarded, see [Producer.Recovered]. The error is [ErrBusy] while another
// process, or another Producer of this one, produces into the ring, and
// [ErrCorrupt], with a [*Fault], where the ring has to be mended.
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

// newProducer returns a Producer without claim and poller. mem is its own, unless
// there is an error.
func newProducer(mem *ring.Mapping, opts Options) (*Producer, error) {
	found, err := userring.Restore(mem, opts.Mend)
	if err != nil {
		return nil, err
	}
	pos, size := mem.ProducerPos(), mem.Size()
	p := &Producer{
		mem: mem, pos: mem.Positions, data: mem.Data(), size: size,
		max:   min(size-ring.HeaderSize, ring.MaxSample),
		opts:  opts,
		found: found,
		turn:  make(chan struct{}, 1),
		done:  make(chan struct{}),
		head:  pos, limit: pos, // the first reservation looks for room
	}
	p.mu = newLock(p.done)
	return p, nil
}

// Recovered tells what New found in the ring and did about it.
func (p *Producer) Recovered() userring.Recovery { return p.found }

// MaxSample is the size in bytes of the largest sample that the ring can hold:
// the ring's size less a header, and never more than a dynptr's 16 MiB - 1.
func (p *Producer) MaxSample() int { return int(p.max) }

// Close ends every wait and makes every later call fail with [os.ErrClosed].
// Samples that are still reserved are discarded, so that they do not hold up
// the kernel. A call under way at the same time may fail with os.ErrClosed
// though its sample was written. Close does not wait for a Batch. It is idempotent.
//
// Close maps other memory over the ring. If the kernel refuses that, as it may with
// vm.overcommit_memory=2, Samples and Batches can still write into the ring: then Close
// fails and keeps the claim, and another Close tries again.
func (p *Producer) Close() error {
	_, err := p.closed.Get(func() (struct{}, error) { return struct{}{}, p.tryClose() })
	return err
}

func (p *Producer) tryClose() error {
	p.failed.Store(&errClosed)
	p.end.Do(p.endWaits)
	if err := p.mem.Retire(); err != nil {
		return errors.Join(p.endErr, fmt.Errorf("keep the claim, since this process can still write into the ring: %w", err))
	}
	own := p.own
	if p.own = nil; own == nil {
		return p.endErr
	}
	// A corrupt ring stays corrupt and is no reason to fail. In a stolen ring the samples are
	// the thief's.
	if claim.ID(own.ProducerClaim().Load()) == p.claim {
		userring.Restore(own, false)
	}
	p.claim.Release(own.ProducerClaim())
	return errors.Join(p.endErr, own.Unmap())
}

// endWaits ends all waits. It maps the ring once more, for Close alone: Retire takes the
// first mapping away from Samples and Batches.
func (p *Producer) endWaits() {
	close(p.done)
	var mapErr error
	err := p.poller.Do(func(fd int) {
		if p.own, mapErr = ring.Produce(fd, p.size); mapErr != nil {
			mapErr = fmt.Errorf("give up the claim: %w", mapErr)
		}
	})
	p.endErr = errors.Join(err, mapErr, p.poller.Close())
}

// holds reports whether the ring is still claimed by this Producer.
func (p *Producer) holds() bool { return claim.ID(p.pos.ProducerClaim().Load()) == p.claim }

// fail makes every later call fail with err, unless one fails already, and returns why.
func (p *Producer) fail(err error) error {
	p.failed.CompareAndSwap(nil, &err)
	return p.failure()
}

// failure returns why nothing works any more, nil while it does.
func (p *Producer) failure() error {
	if err := p.failed.Load(); err != nil {
		return *err
	}
	return nil
}

package consumer

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/claim"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/syscall"
)

// ErrCorrupt means that positions or record headers are inconsistent, or that another
// process moved the consumer position.
var ErrCorrupt = ring.ErrCorrupt

// defaultTimer is the interval of the slow timer, see [Options].
const defaultTimer = 100 * time.Millisecond

// Options change how a Reader or Group waits and what it tells the kernel. The
// zero value waits with the least CPU time and is right for most.
type Options struct {
	// BusyPoll is how long a wait looks for a record, using a CPU, before it
	// sleeps. A record that comes within this time is in hand within a
	// microsecond or so, where a sleeper takes tens. Zero is not at all.
	BusyPoll time.Duration

	// Coalesce, when positive, trades latency of about this much for
	// throughput: a wait that follows records pauses once for so long and
	// looks again before it sleeps, and meanwhile keeps the space of the last
	// record, so that the producer does not see its consumer caught up and
	// pays for no wakeup. 50 µs is a good value under a flood.
	//
	// A pass leaves that space unpublished until Wait publishes it. So do not combine
	// Coalesce with an epoll of your own on the map: to the kernel the consumer has not
	// caught up, so a commit does not wake it (bpf_ringbuf_commit in
	// kernel/bpf/ringbuf.c). An edge-triggered epoll (EPOLLET) misses new records, and a
	// level-triggered one always finds the ring readable (ringbuf_map_poll_kern).
	Coalesce time.Duration

	// Timer is how often a sleeping wait looks at the ring though nothing woke
	// it: producers that commit with BPF_RB_NO_WAKEUP wake nobody, and a
	// record discarded with that flag can swallow the wakeup of the next.
	// Zero is 100 ms, negative is never.
	Timer time.Duration

	// BeforePublish, when set, is called before the kernel is told that
	// records were consumed: what must not be lost when the process dies has to
	// be made durable in it. Until then the ring is this Reader's, so the records it has
	// read were whole. An error leaves the records in the ring, ends
	// the pass and is returned by the call that led to it, or by
	// [Reader.Err]. With BeforePublish set, Close tells the kernel nothing.
	BeforePublish func() error

	// Shared opens the ring without claiming it, whoever else reads it. By default NewReader
	// claims the ring and fails with [ErrBusy] while another live opener has claimed it. A
	// claim excludes users of this package, in all processes, and no others: it is a word
	// in the consumer page, at offset 64, which the kernel ignores. It ends with Close,
	// when the process ends or calls execve(2), and, if a pass was never left (see
	// [Reader.Pass]), when the Reader is collected.
	Shared bool

	// Steal claims the ring even from a live holder. The robbed Reader publishes nothing
	// more, and its passes fail with [ErrBusy]. Records of the pass in which that happens
	// may be overwritten while its loop body reads them: a Reader that may be robbed must
	// use results only in BeforePublish, or after a pass that ended without an error.
	//
	// The new holder reads copies until it has published, and always from a ring that was
	// unclaimed: a consumer without claims, such as libbpf's, may read that one, and each
	// then gets a part of the records. Steal excludes Shared.
	Steal bool

	// Mend moves the consumer position of a corrupt ring to the oldest intact record, see
	// [Reader.Recovered]. With Shared, another consumer may resume at the old position.
	Mend bool
}

func (o Options) timer() time.Duration {
	if o.Timer == 0 {
		return defaultTimer
	}
	return max(o.Timer, 0)
}

// Reader consumes one ring. It is the ring's only consumer among the users of this package
// unless [Options].Shared is set.
//
// One goroutine at a time may read. Close and Stats may be called by any.
type Reader struct {
	mem    *ring.Mapping
	poller *syscall.Poller // nil in a Group, which polls for all its rings
	opts   Options
	over   bool     // the ring has BPF_F_RB_OVERWRITE
	self   claim.ID // this Reader's claim, 0 without one
	found  Recovery

	claimed runtime.Cleanup // gives the claim up, should the last pass never be left

	// What follows belongs to the reading goroutine, between mem.Acquire and
	// mem.Release.
	pos       uint64 // the next record to read; stored by setPos
	seen      uint64 // producer_pos as loaded last
	published uint64 // consumer_pos as stored last; at most pos
	lastSpan  uint64 // bytes of the record before pos, 0 when not known
	pass      uint64 // counts passes: a pass that began later ends an earlier one
	rivals    rivals
	copy      copyBuffer
	err       error
	taken     struct{ records, bytes uint64 } // by takeNext, not in counts yet

	counts counters
	busy   busyHead
}

// counters are written by the reading goroutine once for a batch.
type counters struct {
	records, bytes, discarded, lost, late atomic.Uint64
}

// NewReader returns a Reader for m, a map of type RingBuf of any size. The
// Reader keeps its own descriptor and mappings; m may be closed. It starts at the
// first record that was not consumed. It touches nothing but m and the ring's pages. The error
// matches [ErrBusy] while another opener has claimed the ring, and is [ebpf.ErrNotSupported] for a ring in overwrite
// mode on machines that reorder stores, such as arm64.
//
// See ringbuf_map_mmap_kern and ringbuf_map_poll_kern (kernel/bpf/ringbuf.c).
func NewReader(m *ebpf.Map, opts Options) (*Reader, error) {
	r, err := mapReader(m, opts)
	if err != nil {
		return nil, fmt.Errorf("read ring %s: %w", m, err)
	}
	if r.poller, err = syscall.NewPoller(m.FD()); err != nil {
		r.Close()
		return nil, fmt.Errorf("read ring %s: %w", m, err)
	}
	return r, nil
}

// mapReader returns a Reader without a poller.
func mapReader(m *ebpf.Map, opts Options) (*Reader, error) {
	if m.Type() != ebpf.RingBuf {
		return nil, fmt.Errorf("map is a %s, not a RingBuf", m.Type())
	}
	if err := checkOverwrite(m.Flags(), runtime.GOARCH); err != nil {
		return nil, err
	}
	mem, err := ring.Consume(m.FD(), uint64(m.MaxEntries()))
	if err != nil {
		return nil, err
	}
	r, err := newReader(mem, m.Flags()&ring.FlagOverwrite != 0, opts)
	if err != nil {
		return nil, errors.Join(err, mem.Unmap())
	}
	return r, nil
}

// newReader returns a Reader that owns mem, unless there is an error.
func newReader(mem *ring.Mapping, overwrite bool, opts Options) (*Reader, error) {
	r := &Reader{mem: mem, opts: opts, over: overwrite}
	if err := r.claim(); err != nil {
		return nil, err
	}
	if opts.Mend {
		var err error
		if r.found, err = mend(mem, overwrite); err != nil {
			r.disclaim()
			return nil, err
		}
	}
	// After the claim: until then another may have moved it.
	r.pos = mem.ConsumerPos()
	r.published = r.pos
	return r, nil
}

// Recovered tells what NewReader found in the ring and did about it.
func (r *Reader) Recovered() Recovery { return r.found }

// Err returns the error that ended the last pass before its end: one that is
// [ErrCorrupt], one of [Options].BeforePublish, or, after Close, one that is
// [os.ErrClosed]. It is to be called by the reading goroutine.
func (r *Reader) Err() error { return r.err }

// Close ends a wait under way and makes every later call fail with
// [os.ErrClosed]. A pass under way may finish: the memory is unmapped when it
// leaves. What was consumed is published. Close is idempotent.
func (r *Reader) Close() error {
	var err error
	if r.poller != nil {
		err = r.poller.Close()
	}
	if r.mem.Close() {
		err = errors.Join(err, r.unmap())
	}
	return err
}

// enter begins an access to the ring's memory, leave ends it.
func (r *Reader) enter() bool {
	if r.mem.Acquire() {
		return true
	}
	r.err = errClosed
	return false
}

func (r *Reader) leave() {
	if r.mem.Release() {
		r.unmap()
	}
}

var errClosed = fmt.Errorf("read ring: %w", os.ErrClosed)

// unmap is called by the last user of the memory.
func (r *Reader) unmap() error {
	var err error
	if r.opts.BeforePublish == nil {
		if err = r.publish(0); errors.Is(err, ErrBusy) {
			err = nil // the records are the thief's
		}
	}
	r.disclaim()
	return errors.Join(err, r.mem.Unmap())
}

// ready reports whether the next pass has something to do: a record to read
// or to skip, or an error to report: a corrupt or stolen ring. It notes a head
// that is still BUSY.
func (r *Reader) ready() bool {
	if !r.holds() {
		return true
	}
	end := r.mem.ProducerPos()
	if r.over && later(r.pos, r.mem.OverwritePos()) != r.pos {
		// The next pass goes on where the kernel left records and publishes that:
		// a commit wakes who is known to wait at its record.
		return true
	}
	if r.pos == end {
		return false
	}
	if r.check(r.pos, end) != nil {
		return true
	}
	if r.mem.Data().Header(r.pos).Busy() {
		r.busy.seen(r.pos)
		return false
	}
	return true
}

// later returns the later of two positions that are close to each other;
// positions wrap around.
func later(a, b uint64) uint64 {
	if int64(b-a) > 0 {
		return b
	}
	return a
}

// busyHead remembers since when the head of the ring has been BUSY.
type busyHead struct {
	mu    sync.Mutex
	pos   uint64
	since time.Time
}

// seen notes a BUSY record at pos and returns since when it has been there.
func (b *busyHead) seen(pos uint64) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.since.IsZero() || b.pos != pos {
		b.pos, b.since = pos, time.Now()
	}
	return b.since
}

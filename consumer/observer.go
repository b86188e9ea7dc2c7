package consumer

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/ring"
)

// Observer watches the records of a ring without consuming them: a RINGBUF that another process
// consumes, or a USER_RINGBUF whose samples are on their way to the kernel. It maps the ring
// read-only, so it cannot affect producers or the consumer. It does not wait for the map with poll
// or epoll, because each further waiter makes a wakeup take longer.
//
// An Observer first copies records and then proves that the copy is whole: the producer position,
// loaded after the copy, shows what producers may have overwritten during the copy. Records whose
// copy cannot be proven whole are counted as lost, and the Observer resumes at the consumer
// position, where a record begins. In bytes, headers included,
//
//	Seen + Skipped + Lost == Pos - Start
//
// holds in all [ObserverStats], whatever the producers do.
//
// An Observer needs no claim, and a ring may have any number of them. The caller must close it. One
// goroutine at a time may read. Any goroutine may call Close and Stats.
//
// # Proof
//
// The kernel writes the header of a record before it publishes the record by producer_pos, and the
// payload after that (kernel/bpf/ringbuf.c, __bpf_ringbuf_reserve). So a copy of the record at
// position p is whole if producer_pos - p <= size - 8 after the copy, in overwrite mode too. This
// holds where stores become visible in program order, as on amd64.
//
// On other machines a payload may become visible before its producer_pos. There a record that was
// not consumed when the copy ended is whole, since producers overwrite only consumed records, except
// in overwrite mode. For other records the Observer waits until producer_pos moves on, or else calls
// membarrier(2), which takes some milliseconds, and then applies the rule above. That is proven for
// arm64, where its speed was not measured. Where it is not proven, or the kernel lacks membarrier,
// only records that are not consumed are whole, and [NewObserver] and [NewReader] refuse rings in
// overwrite mode with [ebpf.ErrNotSupported].
//
// The producer of a USER_RINGBUF is another process, which may write at any distance ahead of
// producer_pos into drained space. So a sample is proven only if it was not drained before the copy
// ended, unless [ObserverOptions].Ahead bounds that distance.
type Observer struct {
	mem    *ring.Mapping
	opts   ObserverOptions
	kind   ring.Kind
	over   bool // in overwrite mode
	closed chan struct{}
	close  sync.Once

	// The reading goroutine owns the fields below.
	pos   ring.Pos // the next record to read
	buf   copyBuffer
	pass  uint64 // counts passes: a later pass ends an earlier one
	err   error
	rests bool          // the last pass left nothing to read
	nap   time.Duration // how long the next wait sleeps between two polls

	mu    sync.Mutex
	stats ObserverStats
}

// ObserverOptions change where an Observer begins and how often it polls. The zero value suits most
// uses.
type ObserverOptions struct {
	// Now makes the Observer begin with the next record that is produced. By default it begins with
	// the oldest record that is not consumed.
	Now bool
	// Interval is the longest time between two polls of the ring. The Observer polls because
	// waiting for wakeups would slow the producers, and the kernel sends no wakeup while the
	// consumer is behind. Under load the Observer polls more often, up to 10,000 times a second, so
	// that each poll finds about an eighth of the ring. Zero means 10 ms.
	Interval time.Duration
	// Ahead is the largest number of bytes that the producer of a USER_RINGBUF writes ahead of its
	// producer_pos, if known: 8 for libbpf, which writes a header. Samples that are drained during
	// the copy can then be proven too. Zero means unknown; it is right for package userprod, which
	// writes as far ahead as there is room.
	Ahead uint64
}

// defaultInterval costs about a thousandth of a CPU on a quiet ring.
const defaultInterval = 10 * time.Millisecond

func (o ObserverOptions) interval() time.Duration {
	if o.Interval <= 0 {
		return defaultInterval
	}
	return o.Interval
}

// shortestNap bounds the cost of following a flood.
const shortestNap = 100 * time.Microsecond

// NewObserver returns an Observer of m, a map of type RingBuf or UserRingbuf. The Observer keeps
// its own mapping; m may be closed. The mapping is read-only, but the kernel requires that m was
// opened for reading and writing. The error matches [ebpf.ErrNotSupported] for a ring in overwrite
// mode on machines other than amd64 and arm64, and on arm64 without membarrier(2).
func NewObserver(m *ebpf.Map, opts ObserverOptions) (*Observer, error) {
	kind := ring.Kernel
	switch t := m.Type(); t {
	case ebpf.RingBuf:
	case ebpf.UserRingbuf:
		kind = ring.User
	default:
		return nil, fmt.Errorf("observe ring %s: map is a %s, neither a RingBuf nor a UserRingbuf", m, t)
	}
	if err := checkOverwrite(m.Flags(), runtime.GOARCH); err != nil {
		return nil, fmt.Errorf("observe ring %s: %w", m, err)
	}
	mem, err := ring.Observe(m.FD(), uint64(m.MaxEntries()))
	runtime.KeepAlive(m)
	if err != nil {
		return nil, fmt.Errorf("observe ring %s: %w", m, err)
	}
	return newObserver(mem, kind, m.Flags()&mapflag.RBOverwrite != 0, opts), nil
}

// newObserver returns an Observer that owns mem.
func newObserver(mem *ring.Mapping, kind ring.Kind, overwrite bool, opts ObserverOptions) *Observer {
	opts.Interval = opts.interval()
	o := &Observer{mem: mem, opts: opts, kind: kind, over: overwrite, closed: make(chan struct{}), nap: shortestNap}
	if opts.Now {
		o.pos = mem.ProducerPos()
	} else {
		o.pos = o.head()
	}
	o.stats.Start, o.stats.Pos = uint64(o.pos), uint64(o.pos)
	return o
}

// head returns the position of the oldest record that is neither consumed nor overwritten.
func (o *Observer) head() ring.Pos {
	pos := o.mem.ConsumerPos()
	if o.over {
		pos = ring.Later(pos, o.mem.OverwritePos())
	}
	return pos
}

// proven returns a position: nothing at or after it was overwritten before the call. The
// documentation of Observer says why.
//
// proven is called after a copy. Partner of its loads: the smp_store_release that publishes a
// record in __bpf_ringbuf_reserve. Without that order, the copy could contain bytes of a new record
// while the positions loaded here still show the old record as intact: see settled, and for
// consumer_pos litmus observer-consumed.
func (o *Observer) proven() ring.Pos {
	if o.kind == ring.User || ordered {
		return o.shown()
	}
	if pos := o.mem.ConsumerPos(); !o.over && (pos.NotAfter(o.pos) || !settles()) {
		return pos
	}
	return settled(o.mem) - ring.Pos(o.mem.Size()-ring.HeaderSize)
}

// shown is proven as the ring's positions show it: more may have been overwritten.
func (o *Observer) shown() ring.Pos {
	size := o.mem.Size()
	switch {
	case o.kind == ring.User && ordered && o.opts.Ahead > 0 && o.opts.Ahead < size:
		return ring.Earlier(o.mem.ConsumerPos(), o.mem.ProducerPos()-ring.Pos(size-o.opts.Ahead))
	case o.kind == ring.Kernel && (ordered || settles()):
		return o.mem.ProducerPos() - ring.Pos(size-ring.HeaderSize)
	}
	return o.mem.ConsumerPos()
}

// Close ends a wait in progress and makes later calls fail with [os.ErrClosed]. A pass in progress
// may finish. Close is idempotent.
func (o *Observer) Close() error {
	o.close.Do(func() { close(o.closed) })
	if o.mem.Close() {
		return o.mem.Unmap()
	}
	return nil
}

// Err returns the error that ended the last pass early, or nil. The error matches [ErrCorrupt] or,
// after Close, [os.ErrClosed]. Call Err only from the reading goroutine.
func (o *Observer) Err() error { return o.err }

var errObserverClosed = fmt.Errorf("observe ring: %w", os.ErrClosed)

// enter begins an access to the ring's memory, and leave ends it. enter returns false after Close.
func (o *Observer) enter() bool {
	if o.mem.Acquire() {
		return true
	}
	o.err = errObserverClosed
	return false
}

func (o *Observer) leave() {
	if o.mem.Release() {
		o.mem.Unmap()
	}
}

// ObserverStats is what an Observer has seen of its ring. Positions and sizes are in bytes.
type ObserverStats struct {
	// Start is the position at which the Observer began, Pos the position of the next record to
	// read.
	Start, Pos uint64
	// Seen, Skipped and Lost divide the bytes between Start and Pos, headers and padding included:
	// Seen counts those of records handed out, Skipped those of records that their producers
	// discarded, and Lost those of records that were overwritten or not proven. A record that the
	// kernel refused because the ring was full takes no space, and nothing counts it
	// (__bpf_ringbuf_reserve in kernel/bpf/ringbuf.c).
	Seen, Skipped, Lost uint64
	// Records counts the records handed out, Bytes the bytes of their payload, Discarded the
	// discarded records. The number of lost records is unknown.
	Records, Bytes, Discarded uint64
	// Losses counts the gaps: runs of lost bytes.
	Losses uint64

	// ConsumerPos and ProducerPos are the positions of the ring at the time of the call.
	ConsumerPos, ProducerPos uint64
}

// Stats returns what was seen so far. Its counters move during a pass and are always consistent.
// After Close, Stats returns them with an error matching [os.ErrClosed]. Any goroutine may call it.
func (o *Observer) Stats() (ObserverStats, error) {
	o.mu.Lock()
	s := o.stats
	o.mu.Unlock()
	if !o.mem.Acquire() {
		return s, errObserverClosed
	}
	defer o.leave()
	s.ConsumerPos, s.ProducerPos = uint64(o.mem.ConsumerPos()), uint64(o.mem.ProducerPos())
	return s, nil
}

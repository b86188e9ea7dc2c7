package consumer

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/ring"
)

// Observer watches the records of a ring that it does not own: a RINGBUF that
// another process consumes, or a USER_RINGBUF whose samples are on their way to
// the kernel. All that it maps is read-only, so nothing that it does can reach
// the ring's producers or its consumer: nor does it poll the map, which would make
// each wakeup longer.
//
// What the ring holds is copied first, then proven: the position of the producer,
// loaded after the copy, tells what may have been written over meanwhile. What
// cannot be proven is counted as lost, and watching goes on at the consumer's
// position, where a record begins. In bytes, headers included,
//
//	Seen + Skipped + Lost == Pos - Start
//
// holds in all [ObserverStats], whatever the producers do.
//
// One goroutine at a time may read; Close and Stats may be called by any.
//
// # What the proof relies on
//
// The kernel writes the header of a record before it publishes it by producer_pos,
// and its payload after that (kernel/bpf/ringbuf.c, __bpf_ringbuf_reserve). So a copy
// of the record at p is whole if producer_pos - p <= size - 8 after it; in
// overwrite mode too. That is so where stores become visible in their order, on
// x86-64. On other machines a payload may be seen before its producer_pos, and what
// proves a copy is that the record was not consumed after it: the producer
// writes over nothing else. There, records of rings in overwrite mode have no proof:
// [NewObserver] and [NewReader] refuse them ([ebpf.ErrNotSupported]).
//
// A producer of a USER_RINGBUF is another process, which may write ahead of
// producer_pos as it likes, into all room that was drained. So what proves a sample
// is that it was not drained after it was copied, unless
// [ObserverOptions].Ahead says more.
type Observer struct {
	mem    *ring.Mapping
	opts   ObserverOptions
	user   bool // a USER_RINGBUF
	over   bool // in overwrite mode
	closed chan struct{}
	close  sync.Once

	// What follows belongs to the reading goroutine.
	pos   uint64 // the next record to look at
	buf   []byte // the copy
	want  uint64 // bytes of the record that the last copy cut off, or 0
	pass  uint64 // counts passes: one that began later ends an earlier one
	err   error
	rests bool          // nothing was left to read at the end of the last pass
	nap   time.Duration // what the next wait sleeps between two looks

	mu    sync.Mutex
	stats ObserverStats
}

// ObserverOptions change where an Observer begins and how often it looks. The
// zero value is right for most.
type ObserverOptions struct {
	// Now begins with what is produced from now on, instead of with what
	// waits for the consumer.
	Now bool
	// Interval is the longest time between two looks at the ring. No wakeup can be
	// had without disturbing the ring's owner, and the kernel sends none unless
	// its consumer has caught up: the ring is looked at by a timer. When much
	// comes it is looked at more often, up to some thousand times a second, so
	// that about an eighth of the ring is found at each look. Zero is
	// 10 ms.
	Interval time.Duration
	// Ahead is how many bytes the producer of a USER_RINGBUF writes ahead of its
	// producer_pos at most, if that is known: libbpf's writes the 8 bytes of a header.
	// Samples that were drained in the meantime can then still be proven. Zero is not
	// known: package userprod writes as far ahead as there is room.
	Ahead uint64
}

// defaultInterval is how often an Observer looks at a quiet ring: it costs about a
// thousandth of a CPU.
const defaultInterval = 10 * time.Millisecond

// shortestNap bounds what it costs to follow a flood.
const shortestNap = 100 * time.Microsecond

// NewObserver returns an Observer of m, a map of type RingBuf or UserRingbuf,
// which keeps its own mapping: m may be closed. The kernel maps no map that was
// opened read-only, so m must have been opened for writing too; the mapping is read-only
// all the same. The error is [ebpf.ErrNotSupported] for a ring in overwrite mode on machines
// that reorder stores, such as arm64.
func NewObserver(m *ebpf.Map, opts ObserverOptions) (*Observer, error) {
	if t := m.Type(); t != ebpf.RingBuf && t != ebpf.UserRingbuf {
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
	return newObserver(mem, m.Type() == ebpf.UserRingbuf, m.Flags()&ring.FlagOverwrite != 0, opts), nil
}

// newObserver returns an Observer that owns mem.
func newObserver(mem *ring.Mapping, user, overwrite bool, opts ObserverOptions) *Observer {
	if opts.Interval <= 0 {
		opts.Interval = defaultInterval
	}
	o := &Observer{mem: mem, opts: opts, user: user, over: overwrite, closed: make(chan struct{}), nap: shortestNap}
	if opts.Now {
		o.pos = mem.ProducerPos()
	} else {
		o.pos = o.head()
	}
	o.stats.Start, o.stats.Pos = o.pos, o.pos
	return o
}

// head is the position of the oldest record that is not consumed, and in
// overwrite mode not overwritten.
func (o *Observer) head() uint64 {
	pos := o.mem.ConsumerPos()
	if o.over {
		pos = later(pos, o.mem.OverwritePos())
	}
	return pos
}

// proven is the position from which on nothing in the ring has been written over
// before it was called. See the type for the reasons.
//
// Its loads come after those of a copy; their partner is the producer's store that
// publishes a record, smp_store_release in __bpf_ringbuf_reserve: without that
// order a record could be written over, and the position that tells not be seen.
func (o *Observer) proven() uint64 {
	size := o.mem.Size()
	switch {
	case o.user && ordered && o.opts.Ahead > 0 && o.opts.Ahead < size:
		return earlier(o.mem.ConsumerPos(), o.mem.ProducerPos()-(size-o.opts.Ahead))
	case !o.user && ordered:
		return o.mem.ProducerPos() - (size - ring.HeaderSize)
	}
	return o.mem.ConsumerPos()
}

// earlier is the other one than later.
func earlier(a, b uint64) uint64 {
	if later(a, b) == a {
		return b
	}
	return a
}

// Close ends a wait under way and makes every later call fail with
// [os.ErrClosed]. A pass under way may finish. Close is idempotent.
func (o *Observer) Close() error {
	o.close.Do(func() { close(o.closed) })
	if o.mem.Close() {
		return o.mem.Unmap()
	}
	return nil
}

// Err returns the error that ended the last pass before its end: one that is
// [ErrCorrupt] or, after Close, [os.ErrClosed]. It is to be called by the reading
// goroutine.
func (o *Observer) Err() error { return o.err }

var errObserverClosed = fmt.Errorf("observe ring: %w", os.ErrClosed)

// enter begins an access to the ring's memory, leave ends it.
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

// ObserverStats is what an Observer has seen of its ring. Positions and sizes are
// in bytes.
type ObserverStats struct {
	// Start is the position at which the Observer began, Pos that of the record
	// it looks at next.
	Start, Pos uint64
	// Seen, Skipped and Lost say what became of the bytes between them, headers and
	// padding included: of the records that were handed out, of those that
	// their producers discarded, and of what was written over or could not be proven.
	// Records that the kernel refused because the ring was full never had bytes in
	// it, and are counted nowhere (__bpf_ringbuf_reserve in kernel/bpf/ringbuf.c).
	Seen, Skipped, Lost uint64
	// Records counts those handed out, Bytes their payload, Discarded the
	// discarded ones. How many records were lost nobody can know.
	Records, Bytes, Discarded uint64
	// Losses counts the times that something was lost at once.
	Losses uint64

	// ConsumerPos and ProducerPos are those of the ring now.
	ConsumerPos, ProducerPos uint64
}

// Stats returns what was seen so far. Its counters move during a pass, and always
// fit each other. After Close it returns an error that is [os.ErrClosed], with the
// counters.
func (o *Observer) Stats() (ObserverStats, error) {
	o.mu.Lock()
	s := o.stats
	o.mu.Unlock()
	if !o.mem.Acquire() {
		return s, errObserverClosed
	}
	defer o.leave()
	s.ConsumerPos, s.ProducerPos = o.mem.ConsumerPos(), o.mem.ProducerPos()
	return s, nil
}

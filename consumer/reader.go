package consumer

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/claim"
	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/syscall"
)

// ErrCorrupt means that positions or record headers are inconsistent, or that another
// process moved the consumer position. See [Diagnose] and [Options].Mend.
var ErrCorrupt = ring.ErrCorrupt

// Reader consumes one ring. It is the ring's only consumer among the users of this package
// unless [Options].Shared is set. The caller must close it.
//
// One goroutine at a time may read. Any goroutine may call Close and Stats.
type Reader struct {
	mem    *ring.Mapping
	lease  *ring.Lease     // of mem, for the reading goroutine
	poller *syscall.Poller // nil in a Group, which polls for all its rings
	opts   Options
	over   bool     // the ring has BPF_F_RB_OVERWRITE
	self   claim.ID // this Reader's claim, 0 without one
	found  repair

	claimed runtime.Cleanup // releases the claim if the loop body of the last pass never returned

	// The reading goroutine owns the fields below, between enter and leave.
	pos       ring.Pos // the next record to read; stored by setPos
	seen      ring.Pos // producer_pos as last loaded
	published ring.Pos // consumer_pos as last stored; at most pos
	lastSpan  uint64   // bytes of the record that ends at pos, 0 if unknown
	pass      uint64   // counts passes: a later pass ends an earlier one
	rivals    rivals
	copy      copyBuffer
	err       error
	taken     struct{ records, bytes uint64 } // counted by takeNext and not yet in counts
	flood     flood

	counts counters
	busy   busyHead
}

// The reading goroutine writes the counters once a batch.
type counters struct {
	records, bytes, discarded, lost, late atomic.Uint64
}

// NewReader returns a Reader of m, a map of type RingBuf that was opened for reading and writing.
// The Reader keeps its own descriptor and mappings; m may be closed. Reading starts at the first
// record that was not consumed.
//
// The error matches [ErrBusy] while another opener has claimed the ring, [ErrCorrupt] if another
// process keeps writing to the ring while it is claimed or mended, and [ebpf.ErrNotSupported] for a
// ring in overwrite mode on machines other than amd64 and arm64, and on arm64 without membarrier(2).
// NewReader does not look for other faults of the ring: the first pass reports them.
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
	r, err := newReader(mem, m.Flags()&mapflag.RBOverwrite != 0, opts)
	if err != nil {
		return nil, errors.Join(err, mem.Unmap())
	}
	return r, nil
}

// newReader returns a Reader that owns mem. After an error the caller still owns mem.
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
	// consumer_pos is loaded after the ring is claimed: until then another Reader may move it.
	r.pos = mem.ConsumerPos()
	r.published = r.pos
	r.lease = mem.Lease()
	return r, nil
}

// Err returns the error that ended the last pass early, or nil. The error matches [ErrCorrupt];
// [ErrBusy] if the ring was stolen; or [os.ErrClosed] after Close; or it wraps the error of
// [Options].BeforePublish. Call Err only from the reading goroutine.
func (r *Reader) Err() error { return r.err }

// Close ends a wait in progress and makes later calls fail with [os.ErrClosed]. It does not wait
// for a pass in progress, which may finish; the memory is unmapped when it ends. Close publishes
// what was consumed, unless [Options].BeforePublish is set or the ring was stolen. If that fails,
// Close returns the error, but releases the claim and the memory nevertheless. It is idempotent.
func (r *Reader) Close() error {
	var err error
	if r.poller != nil {
		err = r.poller.Close()
	}
	if r.lease.Close() {
		err = errors.Join(err, r.unmap())
	}
	return err
}

// enter begins an access of the reading goroutine to the ring's memory, and leave ends it. enter
// returns false after Close.
func (r *Reader) enter() bool {
	if r.lease.Enter() {
		return true
	}
	r.refuse()
	return false
}

// refuse ends an Enter that failed.
func (r *Reader) refuse() {
	r.leave()
	r.err = errClosed
}

func (r *Reader) leave() {
	if r.lease.Leave() {
		r.unmap()
	}
}

// release ends an access of any goroutine that began with mem.Acquire.
func (r *Reader) release() {
	if r.mem.Release() {
		r.unmap()
	}
}

var errClosed = fmt.Errorf("read ring: %w", os.ErrClosed)

// unmap publishes, releases the claim and unmaps. The last user of the memory calls it.
func (r *Reader) unmap() error {
	var err error
	if r.opts.BeforePublish == nil {
		if err = r.publish(0); errors.Is(err, ErrBusy) {
			err = nil // the thief will read the unpublished records
		}
	}
	r.disclaim()
	return errors.Join(err, r.mem.Unmap())
}

// ready reports whether the next pass has something to do: a record to read or skip, or a corrupt
// or stolen ring to report. If the next record is BUSY, ready notes when it was first seen.
func (r *Reader) ready() bool {
	if !r.holds() {
		return true
	}
	end := r.mem.ProducerPos()
	if r.over && r.pos.Before(r.mem.OverwritePos()) {
		// The next pass resumes at overwrite_pos and publishes that position: a commit wakes a
		// consumer only if consumer_pos is the position of the committed record.
		return true
	}
	if r.pos == end {
		return false
	}
	if r.check(r.pos, end) != nil {
		return true
	}
	if !r.mem.Data().Header(r.pos).Busy() {
		return true
	}
	if r.over && r.pos.Before(r.oldestIntact()) {
		return true // the word at r.pos need not be a header
	}
	r.busy.seen(r.pos)
	return false
}

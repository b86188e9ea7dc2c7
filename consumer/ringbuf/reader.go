package ringbuf

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/perf"

	"github.com/rbtool/rbtool/consumer"
)

var (
	// ErrClosed is returned by Read and Flush after Close.
	ErrClosed = os.ErrClosed
	// ErrFlushed is returned by Read after the records that were in the ring at
	// [Reader.Flush]. It is the same value as cilium/ebpf's.
	ErrFlushed = perf.ErrFlushed
)

var (
	errClosed   = fmt.Errorf("ringbuffer: %w", ErrClosed)
	errDeadline = fmt.Errorf("ringbuffer: %w", os.ErrDeadlineExceeded)
)

// Record is one record of the ring.
type Record struct {
	// RawSample is the payload: a copy, which belongs to the caller.
	RawSample []byte

	// Remaining is the number of bytes, record headers included, that followed
	// this record in the ring when it was read. By now there may be more.
	Remaining int
}

// Reader reads the records of a BPF ring buffer. All methods may be called
// concurrently; concurrent Reads take turns.
type Reader struct {
	ring *consumer.Reader
	size int

	flushes atomic.Uint64 // counts calls of Flush; written under mu

	mu       sync.Mutex // protects what follows, never held while waiting
	closed   bool
	deadline time.Time
	ctx      context.Context // of waits since the last Flush or SetDeadline, or nil
	cancel   context.CancelFunc

	queue   sync.Mutex // held by a Read that waits, protects flushed
	flushed uint64     // the value of flushes that ErrFlushed last answered

	turn    turn // held while a record is read
	waiting bool // a Read waits, and is the only one that may read; protected by turn
}

// NewReader returns a Reader of ringbufMap, a map of type [ebpf.RingBuf]. The
// Reader keeps a descriptor of its own: the map may be closed.
func NewReader(ringbufMap *ebpf.Map) (*Reader, error) {
	r, err := consumer.NewReader(ringbufMap, consumer.Options{Shared: true})
	if err != nil {
		return nil, err
	}
	return &Reader{ring: r, size: int(ringbufMap.MaxEntries())}, nil
}

// Close frees the Reader's resources and interrupts Read, which then returns
// [os.ErrClosed]. It is idempotent.
func (r *Reader) Close() error {
	err := r.ring.Close()
	r.interrupt(func() { r.closed = true })
	// A Read under way still writes to its caller's Record.
	r.queue.Lock()
	defer r.queue.Unlock()
	r.turn.begin()
	r.turn.end()
	return err
}

// SetDeadline sets the time at which Read, also one under way, stops waiting for
// records. The zero time removes the deadline.
func (r *Reader) SetDeadline(t time.Time) {
	r.interrupt(func() { r.deadline = t })
}

// Flush makes Read return the records that are in the ring, then [ErrFlushed]
// once. Calls that no ErrFlushed has answered yet are answered together.
func (r *Reader) Flush() error {
	var err error
	r.interrupt(func() {
		if r.closed {
			err = errClosed
		}
		r.flushes.Add(1)
	})
	return err
}

// interrupt calls change with r.mu held, then makes a wait under way begin again.
func (r *Reader) interrupt(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	if r.ctx != nil {
		r.cancel()
		r.ctx = nil
	}
}

// Read returns the next record, and waits for it. It returns [os.ErrClosed] after
// [Reader.Close]; [ErrFlushed] after [Reader.Flush], and [os.ErrDeadlineExceeded]
// after the deadline of [Reader.SetDeadline], once there are no more records to read.
func (r *Reader) Read() (Record, error) {
	var rec Record
	err := r.ReadInto(&rec)
	return rec, err
}

// ReadInto is Read into the memory of rec.RawSample, which it replaces by a larger
// one if needed. After an error rec is unchanged, but another consumer of the ring may cause other
// bytes in rec.RawSample.
func (r *Reader) ReadInto(rec *Record) error {
	if r.turn.try() {
		found, err := false, error(nil)
		if !r.waiting {
			found, err = r.take(rec)
		}
		r.turn.end()
		if found || err != nil {
			return err
		}
	}
	return r.waitInto(rec)
}

// waitInto is ReadInto for a Read that may have to wait.
func (r *Reader) waitInto(rec *Record) error {
	r.queue.Lock()
	defer r.queue.Unlock()
	defer r.setWaiting(false)
	r.setWaiting(true)
	for expired := false; ; {
		// Loaded before the look at the ring, which then finds all records that were
		// there at this Flush.
		flushes := r.flushes.Load()
		found, err := r.take(rec)
		if found || err != nil {
			return err
		}
		// While the next record is still being written, complete ones may follow it:
		// they come before ErrFlushed.
		if flushes != r.flushed && r.AvailableBytes() == 0 {
			r.flushed = flushes
			return ErrFlushed
		}
		if expired {
			return errDeadline
		}
		if expired, err = r.wait(flushes); err != nil {
			return err
		}
	}
}

// setWaiting makes the caller, which holds the queue, the only one that may read.
func (r *Reader) setWaiting(only bool) {
	r.turn.begin()
	r.waiting = only
	r.turn.end()
}

// ended is done: with it consumer.Reader's ReadInto does not wait.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// take reads the next record if there is one.
func (r *Reader) take(rec *Record) (found bool, err error) {
	next := consumer.Record{Data: rec.RawSample}
	err = r.ring.ReadInto(ended, &next)
	switch {
	case err == nil:
		rec.RawSample, rec.Remaining = next.Data, int(r.ring.Remaining())
		return true, nil
	case errors.Is(err, context.Canceled):
		return false, nil
	default:
		return false, explain(err)
	}
}

// wait returns when there may be something to read. It reports whether the deadline
// has passed. flushes is what the caller knows of.
func (r *Reader) wait(flushes uint64) (expired bool, err error) {
	ctx := r.waitContext(flushes)
	if ctx == nil {
		return false, nil
	}
	switch err := r.ring.Wait(ctx); {
	case errors.Is(err, context.DeadlineExceeded):
		return true, nil
	case errors.Is(err, context.Canceled):
		return false, nil
	default:
		return false, explain(err)
	}
}

// waitContext returns a context that ends at the deadline, or when interrupted; nil
// if there was another Flush.
func (r *Reader) waitContext(flushes uint64) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flushes.Load() != flushes {
		return nil
	}
	if r.ctx == nil {
		if r.deadline.IsZero() {
			r.ctx, r.cancel = context.WithCancel(context.Background())
		} else {
			r.ctx, r.cancel = context.WithDeadline(context.Background(), r.deadline)
		}
	}
	return r.ctx
}

// explain gives an error of the ring's reader the text of this package.
func explain(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrClosed):
		return errClosed
	default:
		return fmt.Errorf("ringbuffer: %w", err)
	}
}

// BufferSize returns the size of the ring in bytes.
func (r *Reader) BufferSize() int { return r.size }

// AvailableBytes returns the number of bytes in the ring that are not read yet, headers
// and discarded records included; 0 after Close.
func (r *Reader) AvailableBytes() int {
	s, err := r.ring.Stats()
	if err != nil {
		return 0
	}
	return int(s.Unread)
}

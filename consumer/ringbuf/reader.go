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
	// ErrClosed means that the Reader is closed. The errors of Read and Flush wrap it: test for it
	// with errors.Is.
	ErrClosed = os.ErrClosed
	// ErrFlushed is returned by Read after [Reader.Flush], once it has returned the records that
	// were in the ring at that time. It is the same value as in cilium/ebpf.
	ErrFlushed = perf.ErrFlushed
)

var (
	errClosed   = fmt.Errorf("ringbuffer: %w", ErrClosed)
	errDeadline = fmt.Errorf("ringbuffer: %w", os.ErrDeadlineExceeded)
)

// Record is one record of the ring.
type Record struct {
	// RawSample is a copy of the payload. The caller owns it; ReadInto overwrites it.
	RawSample []byte

	// Remaining is the number of bytes, record headers included, that followed this record in the
	// ring when it was read. Producers may have added records since.
	Remaining int
}

// Reader reads the records of a BPF ring buffer. All methods may be called
// concurrently; concurrent Reads take turns.
type Reader struct {
	ring *consumer.Reader
	size int

	flushes atomic.Uint64 // counts calls of Flush; written under mu

	mu       sync.Mutex // protects the fields below; never held while waiting
	closed   bool
	deadline time.Time
	ctx      context.Context // of waits since the last Flush or SetDeadline, or nil
	cancel   context.CancelFunc

	queue   sync.Mutex // held by a Read that waits; protects flushed
	flushed uint64     // value of flushes when Read last returned ErrFlushed

	turn    turn // held while a record is read
	waiting bool // only the Read that waits may read; protected by turn
}

// NewReader returns a Reader of ringbufMap, a map of type [ebpf.RingBuf]. The Reader keeps its own
// descriptor: the map may be closed. The caller must close the Reader. The error matches
// [ebpf.ErrNotSupported] for a ring in overwrite mode where [consumer.NewReader] refuses it.
func NewReader(ringbufMap *ebpf.Map) (*Reader, error) {
	r, err := consumer.NewReader(ringbufMap, consumer.Options{Shared: true})
	if err != nil {
		return nil, err
	}
	return &Reader{ring: r, size: int(ringbufMap.MaxEntries())}, nil
}

// Close frees the Reader's resources and interrupts Read, whose error then matches [os.ErrClosed].
// Close waits for the end of a Read in progress. It is idempotent.
func (r *Reader) Close() error {
	err := r.ring.Close()
	r.interrupt(func() { r.closed = true })
	// A Read in progress may still be writing to the Record of its caller: wait for it.
	r.queue.Lock()
	defer r.queue.Unlock()
	r.turn.begin()
	r.turn.end()
	return err
}

// SetDeadline sets the time at which Read stops waiting for records. After it, Read still returns
// records that are ready. It also applies to a Read in progress. The zero time removes the
// deadline.
func (r *Reader) SetDeadline(t time.Time) {
	r.interrupt(func() { r.deadline = t })
}

// Flush makes Read return the records that are in the ring and then, once, [ErrFlushed]. If Flush
// is called several times before that, Read still returns ErrFlushed once. After Close, the error
// of Flush matches [os.ErrClosed].
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

// interrupt calls change with r.mu held, and then makes a wait in progress start again.
func (r *Reader) interrupt(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	if r.ctx != nil {
		r.cancel()
		r.ctx = nil
	}
}

// Read waits for the next record and returns it. The error matches [os.ErrClosed] after
// [Reader.Close], and [consumer.ErrCorrupt] if the ring is corrupt. When there are no more records
// to read, it matches [ErrFlushed] after [Reader.Flush], and [os.ErrDeadlineExceeded] after the
// deadline of [Reader.SetDeadline].
func (r *Reader) Read() (Record, error) {
	var rec Record
	err := r.ReadInto(&rec)
	return rec, err
}

// ReadInto is Read into the memory of rec.RawSample, which it replaces if a larger slice is needed.
// After an error the fields of rec are unchanged. If another consumer reads the ring too, the bytes
// in rec.RawSample may have been overwritten nevertheless.
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
		// flushes is loaded before the ring is read, so take finds all records that were in the
		// ring at this Flush.
		flushes := r.flushes.Load()
		found, err := r.take(rec)
		if found || err != nil {
			return err
		}
		// If the next record is not committed, committed records may follow it. Return them before
		// ErrFlushed.
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

// setWaiting(true) makes other Reads queue up instead of reading at once. The caller holds r.queue.
func (r *Reader) setWaiting(only bool) {
	r.turn.begin()
	r.waiting = only
	r.turn.end()
}

// ended is a context that is done: with it, ReadInto of consumer.Reader does not wait.
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

// wait returns when there may be something to read. It reports whether the deadline has passed.
// flushes is the number of calls of Flush that the caller has seen.
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

// waitContext returns a context that ends at the deadline or when interrupted. It returns nil if
// Flush was called since the caller loaded flushes.
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

// explain translates an error of consumer.Reader to the error of this package.
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

// AvailableBytes returns the number of unread bytes in the ring. Headers, and records that are
// discarded or not committed, are included. It returns 0 after Close.
func (r *Reader) AvailableBytes() int {
	s, err := r.ring.Stats()
	if err != nil {
		return 0
	}
	return int(s.Unread)
}

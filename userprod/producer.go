package userprod

import (
	"context"
	"time"

	"github.com/cilium/ebpf"
)

// DefaultTimer is the interval of the slow timer, see [Options].
const DefaultTimer = 100 * time.Millisecond

// Options change how a Producer opens its ring and waits. The zero value is right for most.
type Options struct {
	// Timer is how often a sleeping wait looks at the ring though nothing woke
	// it: programs that drain with BPF_RB_NO_WAKEUP wake nobody. Zero is
	// DefaultTimer, negative is never.
	Timer time.Duration

	// Mend gets a ring going again whose positions or headers contradict each
	// other, so that the kernel cannot go on: everything behind the last
	// sample that makes sense is thrown away. Without it New fails with [ErrCorrupt].
	Mend bool

	// IgnoreForeign makes New not look for producers that, like libbpf's, do not
	// claim their ring. That look takes some milliseconds, and CAP_BPF and CAP_PERFMON.
	IgnoreForeign bool
}

// Producer writes samples into one ring.
type Producer struct{}

// New returns a Producer for m, a map of type UserRingbuf of any size. It keeps
// its own descriptor and mappings; m may be closed. The error is [ErrBusy] while
// another process produces into the ring, and [ErrCorrupt] where the ring has to be mended.
func New(m *ebpf.Map, opts Options) (*Producer, error) { panic("soon") }

// Recovered tells what New found in the ring and did about it.
func (p *Producer) Recovered() Recovery { panic("soon") }

// MaxSample is the size in bytes of the largest sample that the ring can hold.
func (p *Producer) MaxSample() int { panic("soon") }

// Reserve hands out room for a sample of n bytes. The error is [ErrFull],
// [ErrTooLarge], [ErrCorrupt] or [os.ErrClosed].
func (p *Producer) Reserve(n int) (Sample, error) { panic("soon") }

// ReserveWait is Reserve that waits for room, until ctx is done or Close.
func (p *Producer) ReserveWait(ctx context.Context, n int) (Sample, error) { panic("soon") }

// Wait blocks until a sample of n bytes fits, as far as this Producer's other
// goroutines leave it the room.
func (p *Producer) Wait(ctx context.Context, n int) error { panic("soon") }

// TryWrite writes b as one sample, or fails with [ErrFull].
func (p *Producer) TryWrite(b []byte) error { panic("soon") }

// Write writes b as one sample. It waits for room, until Close.
func (p *Producer) Write(b []byte) (int, error) { panic("soon") }

// WriteWait is Write that waits until ctx is done at most.
func (p *Producer) WriteWait(ctx context.Context, b []byte) error { panic("soon") }

// WriteAll writes each value as one sample, in order, published together. It returns
// how many were written; the error is [ErrFull] when not all fit. T must not
// hold pointers, and is written as it lies in memory, padding included.
func WriteAll[T any](p *Producer, values []T) (int, error) { panic("soon") }

// Close ends every wait and makes every later call fail with [os.ErrClosed].
// Samples that are still reserved are discarded. It is idempotent.
func (p *Producer) Close() error { panic("soon") }

// Sample is room in the ring for one sample. It may be copied; one Commit or Discard
// of all copies succeeds.
type Sample struct{}

// Bytes is the room: memory of the ring, valid until Commit or Discard, with whatever was
// in it before.
func (s Sample) Bytes() []byte { panic("soon") }

// Commit gives the sample to the kernel. The error is [ErrDone] when it had been
// committed or discarded.
func (s Sample) Commit() error { panic("soon") }

// Discard gives it up; the kernel passes over it.
func (s Sample) Discard() error { panic("soon") }

// Batch gives the calling goroutine the ring until [Batch.End].
func (p *Producer) Batch() Batch { panic("soon") }

// Batch writes samples one behind the other without handing them out. One
// goroutine may use it; it must not be copied.
type Batch struct{}

// Next returns room for a sample of n bytes, which is complete when Next,
// Publish or End is called again.
func (b *Batch) Next(n int) ([]byte, error) { panic("soon") }

// NextWait is Next that, when the ring is full, publishes what is complete and waits;
// other goroutines can write meanwhile.
func (b *Batch) NextWait(ctx context.Context, n int) ([]byte, error) { panic("soon") }

// Drop gives up the sample of the last Next.
func (b *Batch) Drop() { panic("soon") }

// Publish gives the kernel the samples so far.
func (b *Batch) Publish() error { panic("soon") }

// End publishes the samples so far and lets the other goroutines have the ring. It is idempotent.
func (b *Batch) End() error { panic("soon") }

// Stats is what a Producer knows of its ring and has done. Positions and sizes
// are in bytes.
type Stats struct {
	ConsumerPos, ProducerPos uint64
	// Free is the room behind producer_pos, reservations not published yet included.
	Free uint64
	// Waits counts the waits for room; Late those that the slow timer alone ended.
	Waits, Late uint64
}

// Stats returns the state of the ring.
func (p *Producer) Stats() (Stats, error) { panic("soon") }

// Recovery is what New found and did.
type Recovery struct {
	Abandoned int    // samples left BUSY by a dead producer, now discarded
	Mended    *Fault // what was wrong with the ring, nil when nothing
}

// Diagnosis is what lies in a ring.
type Diagnosis struct {
	ConsumerPos, ProducerPos uint64
	Committed, Discarded     int    // samples that the kernel has not drained
	Busy                     int    // samples reserved, or abandoned
	BusyPos                  uint64 // of the first of them
	Holder                   uint32 // pid of the process that has claimed the ring, 0: nobody
	HolderAlive              bool
	Fault                    *Fault // nil when the ring makes sense
}

// Fault is why the kernel cannot go on in a ring.
type Fault struct {
	Pos   uint64 // of the header at fault, or of the producer
	Errno error  // what bpf_user_ringbuf_drain returns there: EINVAL or E2BIG, nil when it just finds nothing
	text  string
}

func (f *Fault) Error() string { return f.text }

// Is makes the error ErrCorrupt.
func (f *Fault) Is(target error) bool { return target == ErrCorrupt }

// Diagnose looks at the ring m without changing it, whoever produces into it.
func Diagnose(m *ebpf.Map) (Diagnosis, error) { panic("soon") }

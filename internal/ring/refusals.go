package ring

import (
	"math"
	"sync/atomic"
	"time"
	"unsafe"
)

// Refusals are the words in the producer page of a USER_RINGBUF in which its producers count the
// samples that did not fit. The kernel ignores them (kernel/bpf/ringbuf.c, __bpf_user_ringbuf_peek
// reads only producer_pos in that page), and they last as long as the ring.
//
//	offset in the page  0    producer_pos
//	                    64   claim
//	                    128  Layout, Samples, Bytes, Nanos
//
// Every process with a descriptor of the map can write them: they are hints. Producers add to them
// and observers load them, atomically; each word stands for itself, so no order is needed.
type Refusals struct {
	// Layout is refusalsLayout once a producer that counts has opened the ring, else 0.
	Layout atomic.Uint64
	// Samples and Bytes count the refused samples, and their bytes without headers.
	Samples, Bytes atomic.Uint64
	// Nanos is the time in nanoseconds for which producers found no room: a lower bound.
	Nanos atomic.Uint64
}

// refusalsLayout is "rbtool" and the version of the layout. A new version keeps the meaning of the
// words that it has in common with this one.
const refusalsLayout = uint64('r') | 'b'<<8 | 't'<<16 | 'o'<<24 | 'o'<<32 | 'l'<<40 | 1<<48

// Refusals returns the words in the producer page of a USER_RINGBUF.
func (p Positions) Refusals() *Refusals {
	return (*Refusals)(unsafe.Add(p.producer, refusalsOffset))
}

// Begin says that the producer counts refusals. It leaves the counts of earlier producers.
func (r *Refusals) Begin() { r.Layout.Store(refusalsLayout) }

// Load returns the values, or nil if no producer of the ring counts.
func (r *Refusals) Load() *Refused {
	return NewRefused(r.Layout.Load(), r.Samples.Load(), r.Bytes.Load(), r.Nanos.Load())
}

// Refused are the values of [Refusals].
type Refused struct {
	Samples, Bytes uint64
	Full           time.Duration
}

// NewRefused returns the values that the words of a [Refusals] have, or nil if layout says that no
// producer of the ring counts.
func NewRefused(layout, samples, bytes, nanos uint64) *Refused {
	if layout != refusalsLayout {
		return nil
	}
	// Another process can have made nanos larger than a Duration.
	return &Refused{samples, bytes, time.Duration(min(nanos, math.MaxInt64))}
}

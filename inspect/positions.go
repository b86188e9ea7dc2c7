package inspect

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/kernelbtf"
	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/once"
	"github.com/rbtool/rbtool/internal/ring"
)

// Positions are the positions of a ring: bytes since its creation, which wrap at 2^64.
//
// Consumer and Producer move while they are read. Consumer is read before Producer, so that
// Producer is never less than Consumer. Consumer is read again after Producer; if it has
// changed, both are read again, a bounded number of times. If Consumer changes each time, the
// backlog can be reported larger than it was, but never larger than the ring.
type Positions struct {
	Consumer uint64
	Producer uint64
	// Pending is the position of the oldest uncommitted record as of the last reservation: a hint.
	// It is nil for a user ring, and on kernels that do not keep it, such as those before 6.10.
	Pending *uint64
	// Overwrite is the position of the oldest record that is not overwritten. It is nil
	// unless the ring is in overwrite mode.
	Overwrite *uint64

	// Backlog is the number of bytes that the consumer has not read, headers included.
	Backlog uint64
	// Fill is Backlog divided by the ring's size, 0 to 1.
	Fill float64

	// Busy is the oldest record if it is BUSY, which blocks the consumer; otherwise nil.
	Busy *Busy

	// Refused is what the producers of a user ring have counted since its creation. It is nil if the
	// ring has had no producer that counts, which those of package userprod do, and for a RINGBUF.
	Refused *Refused
}

// Refused counts the samples that did not fit into a user ring. Its producers count them in the
// memory of the ring, which other processes can write too: they are hints.
type Refused struct {
	Samples uint64        // samples that were not written because the ring was full
	Bytes   uint64        // of those samples, without headers
	Full    time.Duration // time for which producers found no room; a lower bound
}

// Busy is a record that is reserved and neither submitted nor discarded.
type Busy struct {
	Pos uint64 // position of its header
	Len uint32 // bytes, without the header
}

// fields says which optional members struct bpf_ringbuf (kernel/bpf/ringbuf.c) has in this
// kernel.
type fields struct {
	pending bool
}

// kernelFields reads the kernel's BTF, which takes tens of milliseconds. A ring's memory does
// not show whether the kernel has a member: one that is absent reads as 0.
var kernelFields = once.Func(func() (fields, error) {
	spec, err := kernelbtf.Cache().Kernel()
	if err != nil {
		return fields{}, err
	}
	var rb *btf.Struct
	if err := spec.TypeByName("bpf_ringbuf", &rb); errors.Is(err, btf.ErrNotFound) {
		return fields{}, nil
	} else if err != nil {
		return fields{}, err
	}
	var f fields
	for _, m := range rb.Members {
		f.pending = f.pending || m.Name == "pending_pos"
	}
	return f, nil
})

// observe reads the positions of m into d.
func (d *Map) observe(m *ebpf.Map, kernel fields) error {
	if m.Type() == ebpf.Arena {
		return nil
	}
	// Mapping takes time in proportion to the size: more than a second for the largest rings.
	// One page of data suffices to reach the position pages.
	mem, err := ring.Observe(m.FD(), uint64(os.Getpagesize()))
	runtime.KeepAlive(m) // the finalizer of m closes the descriptor
	if err != nil {
		return err
	}
	if mem.Acquire() {
		r := reading{ring: mem, size: d.Bytes, overwrite: d.Flags&mapflag.RBOverwrite != 0}
		var note string
		d.Positions, note = r.positions()
		if kernel.pending && m.Type() == ebpf.RingBuf {
			pending := uint64(mem.PendingPos())
			d.Positions.Pending = &pending
		}
		if m.Type() == ebpf.UserRingbuf {
			d.Positions.Refused = (*Refused)(mem.Refusals().Load())
		}
		if note == "" {
			d.Positions.Busy, note = r.busy(*d.Positions, func(pos uint64) (ring.Header, error) { return header(m, pos) })
		}
		if note != "" {
			d.Notes = append(d.Notes, note)
		}
	}
	mem.Release()
	if mem.Close() {
		mem.Unmap()
	}
	return nil
}

// header loads the header at pos, a multiple of 8. It maps only the page that contains the header.
func header(m *ebpf.Map, pos uint64) (ring.Header, error) {
	page := uint64(os.Getpagesize())
	first := pos &^ (page - 1) // the position at which the page begins
	offset := 2*page + first&(uint64(m.MaxEntries())-1)
	mem, err := unix.Mmap(m.FD(), int64(offset), int(page), unix.PROT_READ, unix.MAP_SHARED)
	runtime.KeepAlive(m)
	if err != nil {
		return 0, fmt.Errorf("map page of ring: %w", err)
	}
	defer unix.Munmap(mem)
	return ring.Copy(mem, ring.Pos(first)).Header(ring.Pos(pos)), nil
}

// pages loads the positions of a ring from its position pages.
type pages interface {
	ConsumerPos() ring.Pos
	ProducerPos() ring.Pos
	OverwritePos() ring.Pos
}

// reading reads the positions of one ring.
type reading struct {
	ring      pages
	size      uint64
	overwrite bool // the ring is in overwrite mode
}

// tries bounds the attempts to read all positions without consumer_pos changing meanwhile.
const tries = 16

// positions reads the positions, and returns a note if they cannot be right.
func (r reading) positions() (*Positions, string) {
	var p Positions
	steady := false
	for i := 0; i < tries && !steady; i++ {
		p.Consumer = uint64(r.ring.ConsumerPos())
		if r.overwrite {
			// Load overwrite_pos before producer_pos, so that producer_pos is not the lesser: the
			// kernel stores them in this order (__bpf_ringbuf_reserve).
			pos := uint64(r.ring.OverwritePos())
			p.Overwrite = &pos
		}
		p.Producer = uint64(r.ring.ProducerPos())
		steady = uint64(r.ring.ConsumerPos()) == p.Consumer
	}
	return &p, p.judge(r.size, steady)
}

// judge sets Backlog and Fill for a ring of size bytes, and returns a note if the positions
// cannot be right. steady means that consumer_pos did not change while the positions were loaded.
func (p *Positions) judge(size uint64, steady bool) (note string) {
	// Positions wrap: compare differences, not positions.
	p.Backlog = p.Producer - p.oldest()
	if p.Backlog > size {
		// While the consumer moves, or the producer overwrites, the producer can get
		// ahead of the loaded consumer_pos by more than the ring holds.
		ahead := int64(p.Backlog) < 0
		if ahead || steady && p.Overwrite == nil {
			note = fmt.Sprintf("consumer_pos %d and producer_pos %d contradict each other: another process writes wrong positions",
				p.Consumer, p.Producer)
		}
		p.Backlog = size
		if ahead {
			p.Backlog = 0
		}
	}
	p.Fill = float64(p.Backlog) / float64(size)
	return note
}

// oldest returns the position of the oldest record in the ring.
func (p *Positions) oldest() uint64 {
	if p.Overwrite == nil {
		return p.Consumer
	}
	return uint64(ring.Later(ring.Pos(p.Consumer), ring.Pos(*p.Overwrite)))
}

// busy returns the oldest record if it is BUSY. It returns nil if the record is committed, or was
// consumed or overwritten meanwhile. It returns a note if no record can be at this position.
func (r reading) busy(p Positions, header func(pos uint64) (ring.Header, error)) (*Busy, string) {
	if p.Backlog < ring.HeaderSize {
		return nil, ""
	}
	pos := p.oldest()
	if pos%8 != 0 {
		return nil, fmt.Sprintf("no record begins at position %d: it is not a multiple of 8", pos)
	}
	h, err := header(pos)
	if err != nil {
		return nil, fmt.Sprintf("oldest record unknown: %v", err)
	}
	again := Positions{Consumer: uint64(r.ring.ConsumerPos())}
	if r.overwrite {
		overwrite := uint64(r.ring.OverwritePos())
		again.Overwrite = &overwrite
	}
	if again.oldest() != pos {
		return nil, ""
	}
	return p.head(h)
}

// head returns the oldest record if its header h is BUSY, and a note if h cannot be the header of a record.
func (p *Positions) head(h ring.Header) (*Busy, string) {
	// ring.User serves both kinds of rings here: only user rings have headers with both state bits set.
	if h.State(ring.User) != ring.Busy {
		return nil, ""
	}
	pos := p.oldest()
	if ring.Span(h.Len()) > p.Backlog {
		return nil, fmt.Sprintf("no record at position %d: a length of %d bytes goes beyond producer_pos", pos, h.Len())
	}
	return &Busy{Pos: pos, Len: h.Len()}, ""
}

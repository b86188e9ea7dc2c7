package consumer

import (
	"fmt"
	"os"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/ring"
)

// Diagnose returns an error matching [ErrCorrupt] if m, a map of type RingBuf, is inconsistent:
// its records cannot be read and, in most cases, its producers find no room. [Options].Mend
// repairs it. Diagnose changes nothing, and others may consume the ring meanwhile. Errors that
// prevent the diagnosis do not match ErrCorrupt.
func Diagnose(m *ebpf.Map) error {
	if m.Type() != ebpf.RingBuf {
		return fmt.Errorf("diagnose ring %s: map is a %s, not a RingBuf", m, m.Type())
	}
	mem, err := ring.Observe(m.FD(), uint64(m.MaxEntries()))
	if err != nil {
		return fmt.Errorf("diagnose ring %s: %w", m, err)
	}
	fault := diagnose(mem, m.Flags()&ring.FlagOverwrite != 0)
	if err := mem.Unmap(); err != nil {
		return fmt.Errorf("diagnose ring %s: %w", m, err)
	}
	if fault != nil {
		return fault
	}
	return nil
}

func diagnose(mem *ring.Mapping, overwrite bool) *fault {
	// A consumer that moves between the loads makes the ring look inconsistent: retry.
	var f *fault
	for range rivalTries {
		cons := mem.ConsumerPos()
		f = faultOf(mem, cons, mem.ProducerPos(), overwrite)
		if f == nil || mem.ConsumerPos() == cons {
			break
		}
	}
	return f
}

// fault is an inconsistency of a ring. It matches ErrCorrupt.
type fault struct {
	cons, prod uint64
	text       string
}

func (f *fault) Error() string { return fmt.Sprintf("%v: %s", ErrCorrupt, f.text) }

func (f *fault) Is(target error) bool { return target == ErrCorrupt }

// faultOf returns the fault of a ring, nil if a consumer can begin at cons. Processes cannot
// write records, so if no chain of records leads from cons to prod, cons is wrong.
func faultOf(mem *ring.Mapping, cons, prod uint64, overwrite bool) *fault {
	f := &fault{cons: cons, prod: prod}
	switch {
	case cons%8 != 0:
		f.text = fmt.Sprintf("consumer position %d is not a multiple of 8", cons)
	case int64(prod-cons) < 0:
		f.text = fmt.Sprintf("consumer position %d is ahead of the producer position %d", cons, prod)
	case overwrite:
		return nil // the kernel tells where the oldest record is
	case prod-cons > mem.Size():
		f.text = fmt.Sprintf("consumer position %d is more than the ring's %d bytes behind the producer position %d: producers find no room",
			cons, mem.Size(), prod)
	default:
		for pos := cons; pos != prod; {
			next, ok := recordAt(mem, pos, prod)
			if !ok {
				f.text = fmt.Sprintf("no record begins at the consumer position %d", cons)
				return f
			}
			pos = next
		}
		return nil
	}
	return f
}

// dataPage is RINGBUF_NR_META_PAGES (kernel/bpf/ringbuf.c): where the data begins in
// struct bpf_ringbuf, in pages.
const dataPage = 3

// recordAt returns the end of the record at pos, or false if no record that ends by prod can
// begin there. A header holds the record's length and its own page number
// (__bpf_ringbuf_reserve); a payload can imitate one.
func recordAt(mem *ring.Mapping, pos, prod uint64) (next uint64, ok bool) {
	t := mem.Data().Tagged(pos)
	span := ring.Span(t.Header().Len())
	page := dataPage + pos&(mem.Size()-1)/uint64(os.Getpagesize())
	return pos + span, uint64(t.Tag()) == page && span <= prod-pos
}

// Recovery is what NewReader found in a ring and did about it.
type Recovery struct {
	// Mended is the fault that [Options].Mend repaired, an error matching [ErrCorrupt], or nil.
	Mended error
	// Resumed is the position at which a mended ring is read on.
	Resumed uint64
	// Lost is the number of overwritten bytes, headers included, between the old consumer
	// position and Resumed, 0 if the old position was not behind.
	Lost uint64
}

// mend moves the consumer position of a corrupt ring to an intact record. The caller has
// claimed the ring.
func mend(mem *ring.Mapping, overwrite bool) (Recovery, error) {
	var found Recovery
	for range rivalTries {
		cons := mem.ConsumerPos()
		fault := faultOf(mem, cons, mem.ProducerPos(), overwrite)
		if fault == nil {
			return found, nil
		}
		to := resume(mem, fault, overwrite)
		if !mem.MoveConsumerPos(cons, to) {
			continue
		}
		found.Mended, found.Resumed, found.Lost = fault, to, ring.Forward(cons, to)
	}
	return found, fmt.Errorf("still corrupt after repair: another process is writing: %w", found.Mended)
}

// resume returns the position at which to read on: the record that contains the consumer
// position, or else the oldest.
func resume(mem *ring.Mapping, fault *fault, overwrite bool) uint64 {
	if overwrite {
		return mem.OverwritePos()
	}
	prod := fault.prod
	pos := oldestRecord(mem, prod-mem.Size(), prod)
	for pos != prod {
		next, _ := recordAt(mem, pos, prod)
		if int64(fault.cons-next) < 0 || int64(prod-fault.cons) < 0 {
			break
		}
		pos = next
	}
	return pos
}

// oldestRecord returns the lowest position, not below from, at which a record is known to
// begin, or prod. Records form a chain that ends at prod. A payload can imitate headers, so
// several chains are possible; records are known from the position where all chains meet.
// The rest of a record whose header is overwritten can still pass for records.
func oldestRecord(mem *ring.Mapping, from, prod uint64) uint64 {
	begins := make([]uint64, (prod-from)/8/64+1) // a bit for each position: a chain leads from it to prod
	oldest, meet := prod, prod
	for pos := prod - 8; prod-pos <= prod-from; pos -= 8 {
		next, ok := recordAt(mem, pos, prod)
		if i := (next - from) / 8; !ok || next != prod && begins[i/64]&(1<<(i%64)) == 0 {
			continue
		}
		i := (pos - from) / 8
		begins[i/64] |= 1 << (i % 64)
		if meet == oldest && next == oldest {
			meet = pos
		} else if next-from > meet-from {
			meet = next
		}
		oldest = pos
	}
	return meet
}

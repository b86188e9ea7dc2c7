package consumer

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/ring"
)

// Diagnose returns an error matching [ErrCorrupt] if m, a map of type RingBuf, is inconsistent:
// its records cannot be read and, in most cases, its producers find no room. [Options].Mend
// repairs it. Diagnose changes nothing, and others may consume the ring meanwhile. Other errors
// mean that m could not be examined. Any goroutine may call it.
func Diagnose(m *ebpf.Map) error {
	if m.Type() != ebpf.RingBuf {
		return fmt.Errorf("diagnose ring %s: map is a %s, not a RingBuf", m, m.Type())
	}
	mem, err := ring.Observe(m.FD(), uint64(m.MaxEntries()))
	if err != nil {
		return fmt.Errorf("diagnose ring %s: %w", m, err)
	}
	fault := diagnose(mem, m.Flags()&mapflag.RBOverwrite != 0)
	if err := mem.Unmap(); err != nil {
		return fmt.Errorf("diagnose ring %s: %w", m, err)
	}
	if fault != nil {
		return fault
	}
	return nil
}

func diagnose(mem *ring.Mapping, overwrite bool) *fault {
	// If consumer_pos moves between the loads, the ring looks inconsistent: try again.
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
	cons, prod ring.Pos
	text       string
}

func (f *fault) Error() string { return fmt.Sprintf("%v: %s", ErrCorrupt, f.text) }

func (f *fault) Is(target error) bool { return errors.Is(ErrCorrupt, target) }

// faultOf returns the fault of a ring, or nil if a consumer can begin at cons. Only the kernel can
// write records. So if no chain of records leads from cons to prod, cons is wrong.
func faultOf(mem *ring.Mapping, cons, prod ring.Pos, overwrite bool) *fault {
	f := &fault{cons: cons, prod: prod}
	switch {
	case !cons.Aligned():
		f.text = fmt.Sprintf("consumer position %d is not a multiple of 8", cons)
	case !cons.NotAfter(prod):
		f.text = fmt.Sprintf("consumer position %d is ahead of the producer position %d", cons, prod)
	case overwrite:
		return nil // reading begins at overwrite_pos, if cons is behind it
	case uint64(prod-cons) > mem.Size():
		f.text = fmt.Sprintf("consumer position %d is more than the ring's %d bytes behind the producer position %d: producers find no room",
			cons, mem.Size(), prod)
	default:
		for pos := cons; pos != prod; {
			end, ok := mem.RecordEnd(pos, prod)
			if !ok {
				f.text = fmt.Sprintf("no record begins at the consumer position %d", cons)
				return f
			}
			pos = end
		}
		return nil
	}
	return f
}

// repair is what mend did to a ring.
type repair struct {
	mended  error    // the fault, matching ErrCorrupt, or nil
	resumed ring.Pos // the new consumer position
	gone    uint64   // bytes from the old consumer position to resumed; 0 if the old position was not behind
}

// mend moves the consumer position of a corrupt ring to an intact record. The caller has
// claimed the ring.
func mend(mem *ring.Mapping, overwrite bool) (repair, error) {
	var found repair
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
		found = repair{fault, to, cons.To(to)}
	}
	return found, fmt.Errorf("still corrupt after repair: another process is writing: %w", found.mended)
}

// resume returns the position at which reading resumes: the beginning of the record that contains
// the consumer position, or else of the oldest record.
func resume(mem *ring.Mapping, fault *fault, overwrite bool) ring.Pos {
	if overwrite {
		return mem.OverwritePos()
	}
	pos := oldestRecord(mem, fault.prod-ring.Pos(mem.Size()), fault.prod)
	for pos != fault.prod {
		end, _ := mem.RecordEnd(pos, fault.prod)
		if !end.NotAfter(fault.cons) || !fault.cons.NotAfter(fault.prod) {
			break
		}
		pos = end
	}
	return pos
}

// oldestRecord returns the lowest position, not below from, at which a record certainly begins, or
// prod if there is none. Records form a chain that ends at prod. A payload can imitate headers, so
// several chains are possible; the position at which all chains meet certainly begins a record. If
// the header of a record is overwritten, the rest of the record can still look like records.
func oldestRecord(mem *ring.Mapping, from, prod ring.Pos) ring.Pos {
	begins := make([]uint64, (prod-from)/8/64+1) // one bit per position: a chain of records leads from it to prod
	oldest, meet := prod, prod
	for pos := prod - 8; prod-pos <= prod-from; pos -= 8 {
		end, ok := mem.RecordEnd(pos, prod)
		if i := (end - from) / 8; !ok || end != prod && begins[i/64]&(1<<(i%64)) == 0 {
			continue
		}
		i := (pos - from) / 8
		begins[i/64] |= 1 << (i % 64)
		if meet == oldest && end == oldest {
			meet = pos
		} else if end-from > meet-from {
			meet = end
		}
		oldest = pos
	}
	return meet
}

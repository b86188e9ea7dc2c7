package ring

import (
	"fmt"
	"strings"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/bpf/userdrains"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/escape"
)

// userJSON is what is known of the losses of a user ring buffer.
type userJSON struct {
	Refused *command.RefusedJSON `json:"refused"` // null: no process that counts has produced into the ring
	Drains  *command.DrainsJSON  `json:"drains"`  // null: drains cannot be counted
}

func jsonUser(l *lossOf) *userJSON {
	if l.typ != ebpf.UserRingbuf {
		return nil
	}
	return &userJSON{command.JSONRefused(l.refused), (*command.DrainsJSON)(l.drains)}
}

// countDrains starts to count the drains of user ring buffers, if there are any.
func (w *lossWatch) countDrains() {
	for _, r := range w.rings {
		if r.typ == ebpf.UserRingbuf {
			w.drains, w.undrained = userdrains.New()
			return
		}
	}
}

// drained returns the counted drains of the user ring buffers by their ids.
func (w *lossWatch) drained() map[ebpf.MapID]userdrains.Drains {
	if w.drains == nil {
		return nil
	}
	all, err := w.drains.Read()
	if err != nil {
		w.undrained = err
		return nil
	}
	found := map[ebpf.MapID]userdrains.Drains{}
	for id, r := range w.rings {
		if r.typ == ebpf.UserRingbuf {
			found[id] = userdrains.Drains{Map: id} // nobody has drained it
		}
	}
	for _, d := range all {
		found[d.Map] = d
	}
	return found
}

// userDetails describes what a user ring buffer has lost, or "".
func userDetails(l *lossOf) string {
	var parts []string
	if r := l.refused; r != nil && r.Samples > 0 {
		parts = append(parts, fmt.Sprintf("%s samples refused, no room for %v", command.Grouped(r.Samples), command.Roughly(r.Full)))
	}
	if d := l.drains; d != nil && d.Calls > 0 {
		text := fmt.Sprintf("%s drains took %s samples", command.Grouped(d.Calls), command.Grouped(d.Samples))
		for _, failed := range []struct {
			count uint64
			why   string
		}{
			{d.Busy, "failed because of another drain"}, {d.Invalid, "because of an invalid sample or position"},
			{d.TooBig, "because of a sample that is too large"}, {d.Failed, "for another reason"},
		} {
			if failed.count > 0 {
				text += fmt.Sprintf(", %s %s", command.Grouped(failed.count), failed.why)
			}
		}
		parts = append(parts, text)
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("\n%s (id %d): %s\n", escape.String(l.name), l.id, strings.Join(parts, "; "))
}

// refusedSince and drainsSince return what was counted after an earlier report.
func refusedSince(now, before *inspect.Refused) *inspect.Refused {
	if now == nil || before == nil {
		return now
	}
	return &inspect.Refused{Samples: now.Samples - before.Samples, Bytes: now.Bytes - before.Bytes, Full: now.Full - before.Full}
}

func drainsSince(now, before *userdrains.Drains) *userdrains.Drains {
	if now == nil || before == nil {
		return now
	}
	return &userdrains.Drains{
		Map: now.Map, Calls: now.Calls - before.Calls, Samples: now.Samples - before.Samples,
		Busy: now.Busy - before.Busy, Invalid: now.Invalid - before.Invalid, TooBig: now.TooBig - before.TooBig, Failed: now.Failed - before.Failed,
	}
}

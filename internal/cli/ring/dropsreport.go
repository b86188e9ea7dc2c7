package ring

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/bpf/userdrains"
	"github.com/rbtool/rbtool/internal/cli/command"
)

// lossReport says what rings have lost in a time.
type lossReport struct {
	from, to time.Time
	engine   *drops.EngineInfo // nil if nothing is counted
	lacking  []*drops.EngineError
	rings    []lossOf // those that lost most first
	quiet    int      // rings that are left out, since no program wrote to them
	notes    []string
}

// lossOf is what a ring has lost.
type lossOf struct {
	*lossRing
	counts  *drops.Ring      // nil if nothing is counted of this ring
	refused *inspect.Refused // of a user ring buffer, by the processes that produce into it; nil if unknown
	drains  *userdrains.Drains
	full    time.Duration // for which the ring was at least 15/16 full
	figures *drops.Advice // nil without --advise
	advice  []command.Advice
}

// lost returns the number of records that were lost.
func (l *lossOf) lost() uint64 {
	switch {
	case l.counts != nil:
		return l.counts.Failed
	case l.refused != nil:
		return l.refused.Samples
	}
	return 0
}

// report returns what was lost since the watch began.
func (w *lossWatch) report() (*lossReport, error) {
	if err := w.read(); err != nil {
		return nil, err
	}
	r := &lossReport{from: w.began, to: time.Now(), lacking: command.EngineErrors(w.refused)}
	if w.counter != nil {
		info := w.counter.Engine()
		r.engine, r.lacking, r.notes = &info, info.Lacking, w.last.Notes
		r.from, r.to = w.last.Start, w.last.End
	}
	drained := w.drained()
	for _, id := range slices.Sorted(maps.Keys(w.rings)) {
		one := w.lossOf(w.rings[id])
		if d, ok := drained[id]; ok {
			one.drains = &d
		}
		if w.opts.rings.all && one.isQuiet() {
			r.quiet++
			continue
		}
		r.rings = append(r.rings, one)
	}
	slices.SortStableFunc(r.rings, func(a, b lossOf) int {
		return cmp.Or(cmp.Compare(b.lost(), a.lost()), cmp.Compare(b.full, a.full))
	})
	return r, nil
}

func (w *lossWatch) lossOf(ring *lossRing) lossOf {
	l := lossOf{lossRing: ring, counts: ring.counted}
	if l.counts == nil && w.counter != nil && ring.typ == ebpf.RingBuf {
		l.counts = &drops.Ring{ID: ring.id, Name: ring.name, Size: ring.size} // no program has written to it
	}
	if f := ring.flow; f != nil {
		l.full, l.refused = f.Saturated-ring.before, f.Refused
	}
	if a := w.advised[ring.id]; a != nil {
		figures := a.Advice()
		if c := l.counts; c != nil && c.Needed > 0 {
			figures.Sizing.Lower(c.Needed)
		}
		l.figures, l.advice = &figures, command.Advise(&figures, l.counts)
	}
	return l
}

// isQuiet reports whether no program wrote to the ring.
func (l *lossOf) isQuiet() bool {
	return (l.counts == nil || l.counts.Calls == 0) && l.lost() == 0 && l.full == 0 && (l.flow == nil || l.flow.HighWater == 0)
}

// since returns the report of the time after an earlier one, with counts only.
func (r *lossReport) since(before *lossReport) *lossReport {
	d := &lossReport{from: before.to, to: r.to, engine: r.engine, lacking: r.lacking, quiet: r.quiet}
	for _, l := range r.rings {
		one := l
		i := slices.IndexFunc(before.rings, func(b lossOf) bool { return b.id == l.id })
		if i >= 0 {
			b := &before.rings[i]
			one.full -= b.full
			if l.counts != nil && b.counts != nil {
				one.counts = countsSince(l.counts, b.counts)
			}
			one.refused, one.drains = refusedSince(l.refused, b.refused), drainsSince(l.drains, b.drains)
		}
		d.rings = append(d.rings, one)
	}
	return d
}

// countsSince returns what was counted of a ring after an earlier report. Its bounds are those of the whole time.
func countsSince(now, before *drops.Ring) *drops.Ring {
	d := &drops.Ring{
		ID: now.ID, Name: now.Name, Size: now.Size,
		Calls: now.Calls - before.Calls, Failed: now.Failed - before.Failed,
		CallBytes: now.CallBytes - before.CallBytes, FailedBytes: now.FailedBytes - before.FailedBytes,
		Contended: now.Contended - before.Contended, Overwritten: now.Overwritten - before.Overwritten,
	}
	d.FailedLow = max(d.Failed, now.Failed-now.FailedLow) - (now.Failed - now.FailedLow)
	d.FailedHigh = d.Failed + (now.FailedHigh - now.Failed)
	for _, c := range now.Callers {
		i := slices.IndexFunc(before.Callers, func(b drops.Caller) bool { return b.Program == c.Program && b.Address == c.Address })
		if i >= 0 {
			c.Counts = since(c.Counts, before.Callers[i].Counts)
		}
		if c.Calls > 0 {
			d.Callers = append(d.Callers, c)
		}
	}
	slices.SortStableFunc(d.Callers, func(a, b drops.Caller) int { return cmp.Compare(b.Failed, a.Failed) })
	return d
}

func since(now, before drops.Counts) drops.Counts {
	return drops.Counts{Calls: now.Calls - before.Calls, Failed: now.Failed - before.Failed, FailedBytes: now.FailedBytes - before.FailedBytes}
}

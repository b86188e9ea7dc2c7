package drops

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/bpf/mapiter"
	"github.com/rbtool/rbtool/internal/bpf/ringcalls"
)

// Read returns the counts since New. If calls go on meanwhile, the bounds of Failed take account of those in flight. After
// Close the error matches [os.ErrClosed].
func (c *Counter) Read() (*Report, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, fmt.Errorf("read failed reservations: %w", os.ErrClosed)
	}
	r, err := c.read()
	if err != nil {
		return nil, fmt.Errorf("read failed reservations: %w", err)
	}
	return r, nil
}

func (c *Counter) read() (*Report, error) {
	unloaded := c.state.programs.refresh()
	// Positions from before and after the counts bound what calls in flight moved.
	var before, after mapiter.List
	if err := c.maps.Scan(&before); err != nil {
		return nil, err
	}
	s, err := c.calls.Read()
	if err != nil {
		return nil, err
	}
	if err := c.maps.Scan(&after); err != nil {
		return nil, err
	}
	c.state.take(s)
	if unloaded {
		c.dropGone()
	}
	if err := c.makeRoom(s); err != nil {
		return nil, err
	}
	report := &Report{Start: c.start, End: time.Now(), Unattributed: s.Unattributed, Missed: s.Missed}
	first, last := byID(&before), byID(&after)
	for _, id := range c.rings(s) {
		r, finished := c.state.finished[id]
		if !finished {
			r = c.ring(id, s, first[id], last[id])
			if err := c.finish(&r); err != nil {
				return nil, err
			}
		}
		report.Rings = append(report.Rings, r)
	}
	c.state.addCallers(report)
	report.Notes = slices.Clone(c.state.notes)
	return report, nil
}

func byID(list *mapiter.List) map[ebpf.MapID]*mapiter.Entry {
	found := make(map[ebpf.MapID]*mapiter.Entry, len(list.Entries))
	for i := range list.Entries {
		if e := &list.Entries[i]; e.Type == ebpf.RingBuf {
			found[e.ID] = e
		}
	}
	return found
}

// rings returns the ids of the report's rings in order.
func (c *Counter) rings(s *ringcalls.Snapshot) []ebpf.MapID {
	ids := slices.Collect(maps.Keys(s.CPUs))
	ids = append(ids, c.asked...)
	ids = slices.AppendSeq(ids, maps.Keys(c.state.finished))
	slices.Sort(ids)
	return slices.Compact(ids)
}

// finish makes room in the tables for a ring that no longer exists. A scan can miss a map; two do not.
func (c *Counter) finish(r *Ring) error {
	if !r.Gone || r.Calls == 0 {
		return nil
	}
	if !c.state.gone[r.ID] {
		c.state.gone[r.ID] = true
		return nil
	}
	c.state.finished[r.ID] = *r
	delete(c.state.gone, r.ID)
	return c.calls.ForgetRing(r.ID)
}

// ring describes a ring. before and after are nil if it did not exist then.
func (c *Counter) ring(id ebpf.MapID, s *ringcalls.Snapshot, before, after *mapiter.Entry) Ring {
	r := Ring{ID: id, Gone: after == nil}
	if after != nil {
		c.state.names[id] = after.Name
		r.Size, r.Overwrite = uint64(after.MaxEntries), after.Overwrite != nil
	}
	r.Name = c.state.names[id]
	shared, called := s.Rings[id]
	if !called {
		return r
	}
	r.Size, r.Overwrite, r.Contended = shared.Size, shared.Overwrite, shared.Contended
	o := observed{conserved: before != nil && after != nil && s.Missed == 0 && s.Unattributed == 0 && !c.state.unseen}
	if o.conserved {
		o.leastMoved, o.mostMoved = before.Producer-shared.Start, after.Producer-shared.Start
		if int64(o.leastMoved) < 0 { // the ring was called for the first time after before
			o.leastMoved = 0
		}
	}
	if r.Overwrite && after != nil {
		r.Overwritten = overwritten(shared.Start, *after.Overwrite)
	}
	var now *positions
	if c.info.Engine == Breakpoint && after != nil {
		now = &positions{producer: after.Producer, consumer: after.Consumer, tickets: shared.Tickets,
			steady: shared.Settled && before != nil && before.Producer == after.Producer}
	}
	c.sum(&r, &o, s.CPUs[id], now)
	c.conclude(&r, &o, s)
	if list := c.state.seconds[id]; list != nil {
		r.Seconds, r.Worst = list.list(&c.clock)
	}
	return r
}

// overwritten returns the bytes that were overwritten since the producer was at start.
func overwritten(start, now uint64) uint64 {
	if int64(now-start) < 0 {
		return 0
	}
	return now - start
}

// sum adds up the CPUs' calls.
func (c *Counter) sum(r *Ring, o *observed, cpus []ringcalls.CPU, now *positions) {
	var classes [ringcalls.Classes]ringcalls.Tally
	var first, last time.Duration
	var valid bool
	var minSize, maxSize uint64 // of valid calls
	for cpu := range cpus {
		p := &cpus[cpu]
		if p.All.Calls == 0 {
			continue
		}
		if p.All.Calls > p.Invalid {
			if !valid || p.MinSize < minSize {
				valid, minSize = true, p.MinSize
			}
			maxSize = max(maxSize, p.MaxSize)
		}
		if now != nil {
			o.mostMoved += now.settle(p, r.Size)
		}
		r.Calls += p.All.Calls
		r.Failed += p.All.Failed
		r.FailedBytes += p.All.FailedBytes
		r.CallBytes += p.Bytes
		r.Invalid += p.Invalid
		r.Needed = max(r.Needed, p.Needed)
		o.unsureReserved += p.UnsureReserved
		o.unsureRefused += p.UnsureRefused
		if p.FirstFailure != 0 && (first == 0 || p.FirstFailure < first) {
			first = p.FirstFailure
		}
		last = max(last, p.LastFailure)
		for i, t := range p.Classes {
			classes[i].Add(t)
		}
		r.CPUs = append(r.CPUs, CPU{Counts(p.All), cpu})
	}
	if valid {
		o.minLen, o.maxLen = recordLength(minSize), recordLength(maxSize)
	}
	r.FirstFailure, r.LastFailure = wallTime(&c.clock, first), wallTime(&c.clock, last)
	for i, t := range classes {
		if t.Calls > 0 {
			least, most := classBounds(i)
			if valid && minSize <= most {
				least = max(least, minSize)
			}
			if valid && maxSize >= least {
				most = min(most, maxSize)
			}
			r.Sizes = append(r.Sizes, Size{Counts(t), least, most})
		}
	}
}

// classBounds returns the least and greatest size of a class.
func classBounds(class int) (least, most uint64) {
	switch class {
	case 0:
		return 0, 0
	case ringcalls.Classes - 1: // and what is larger
		return 1 << (class - 1), 1<<64 - 1
	}
	return 1 << (class - 1), 1<<class - 1
}

// conclude computes the bounds of the failures.
func (c *Counter) conclude(r *Ring, o *observed, s *ringcalls.Snapshot) {
	if c.info.Engine == Fexit {
		r.FailedLow, r.FailedHigh = r.Failed, r.Failed+s.Missed
		return
	}
	o.bytes, o.failedBytes, o.failed = r.CallBytes, r.FailedBytes, r.Failed-r.Invalid
	low, high := o.bounds()
	r.FailedLow, r.FailedHigh = low+r.Invalid, high+r.Invalid+s.Missed
	r.Failed = min(max(r.Failed, r.FailedLow), r.FailedHigh)
	if o.conserved && o.leastMoved == o.mostMoved && o.bytes >= o.mostMoved {
		r.FailedBytes = o.bytes - o.mostMoved
	}
}

// addCallers adds the callers to their rings.
func (st *state) addCallers(report *Report) {
	at := map[ebpf.MapID]*Ring{}
	for i := range report.Rings {
		at[report.Rings[i].ID] = &report.Rings[i]
	}
	for key, by := range st.callers {
		r := at[key.ring]
		if r == nil {
			continue
		}
		_, loaded := st.programs.byID[key.program]
		r.Callers = append(r.Callers, Caller{
			Counts: Counts(by.tally), Program: key.program, Name: by.name, Function: key.function, Type: by.typ,
			Loaded: loaded, MinSize: by.minSize, MaxSize: by.maxSize, Address: by.address,
		})
	}
	attached := st.attached.of(report)
	for i := range report.Rings {
		list := report.Rings[i].Callers
		for j := range list {
			list[j].Attached = attached[list[j].Program]
		}
		slices.SortFunc(list, func(a, b Caller) int {
			return cmp.Or(cmp.Compare(b.Failed, a.Failed), cmp.Compare(b.Calls, a.Calls), cmp.Compare(a.Program, b.Program),
				cmp.Compare(a.Function, b.Function))
		})
	}
}

// attachments remembers where programs are attached. Looking takes milliseconds on a large host.
type attachments struct {
	known map[ebpf.ProgramID][]inspect.Attachment
	asked map[ebpf.ProgramID]ebpf.ProgramType
	at    time.Time
}

// attachmentsAge is how old what is known of attachments may be.
const attachmentsAge = 5 * time.Second

// of returns where the loaded callers of the report are attached.
func (a *attachments) of(report *Report) map[ebpf.ProgramID][]inspect.Attachment {
	types := map[ebpf.ProgramID]ebpf.ProgramType{}
	for i := range report.Rings {
		for _, by := range report.Rings[i].Callers {
			if by.Loaded {
				types[by.Program] = by.Type
			}
		}
	}
	if !maps.Equal(types, a.asked) || time.Since(a.at) > attachmentsAge {
		found, _ := inspect.Attachments(types)
		for id, list := range found {
			if a.known == nil {
				a.known = map[ebpf.ProgramID][]inspect.Attachment{}
			}
			a.known[id] = list
		}
		a.asked, a.at = types, time.Now()
	}
	return a.known
}

// notesOf notes what limits the counts.
func (st *state) notesOf(s *ringcalls.Snapshot) {
	for _, a := range s.Came {
		st.unseen = true
		st.note(fmt.Sprintf("CPU %d came online meanwhile; calls on it until %s were not seen.", a.CPU, a.At.Format(time.TimeOnly)))
	}
	if s.WithoutCaller > 0 {
		st.note("Some calls have no caller: its table was full or locked.")
	}
	if s.WithoutSecond > 0 {
		st.note("Some failures are missing in the seconds: their table was full or locked.")
	}
	if err := st.programs.err; err != nil && !errors.Is(err, fs.ErrNotExist) {
		st.note(fmt.Sprintf("Programs are not known: %v.", err))
	}
}

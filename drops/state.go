package drops

import (
	"slices"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/bpf/ringcalls"
)

// state is what a Counter keeps between reads.
type state struct {
	programs programs
	sites    map[siteKey]*site
	callers  map[callerKey]*callerCounts
	seconds  map[ebpf.MapID]*secondsOf
	names    map[ebpf.MapID]string
	gone     map[ebpf.MapID]bool // rings that the last Read did not find
	finished map[ebpf.MapID]Ring // rings that no longer exist, without callers
	notes    []string
	unseen   bool // there may have been calls on a CPU that came online
	attached attachments
}

func newState() state {
	return state{
		programs: programs{byID: map[ebpf.ProgramID]*program{}},
		sites:    map[siteKey]*site{},
		callers:  map[callerKey]*callerCounts{},
		seconds:  map[ebpf.MapID]*secondsOf{},
		names:    map[ebpf.MapID]string{},
		gone:     map[ebpf.MapID]bool{},
		finished: map[ebpf.MapID]Ring{},
	}
}

// siteKey is a ring and the address to which a call returns. In the course of time several programs can have
// the address.
type siteKey struct {
	ring    ebpf.MapID
	address uint64
}

// site is what is known of a siteKey.
type site struct {
	counted  ringcalls.Tally // what callers have got already
	program  ebpf.ProgramID
	function string
}

// callerKey identifies a caller of a ring: a function of a program.
type callerKey struct {
	ring     ebpf.MapID
	program  ebpf.ProgramID
	function string
}

type callerCounts struct {
	tally            ringcalls.Tally
	name             string
	typ              ebpf.ProgramType
	address          uint64
	minSize, maxSize uint64
}

// take gives the calls since the last take to the programs that have their addresses now.
func (st *state) take(s *ringcalls.Snapshot) {
	if slices.ContainsFunc(s.Callers, st.stranger) { // of a program that was loaded since the last refresh
		st.programs.learn()
	}
	unnamed := map[uint64]bool{}
	for i := range s.Callers {
		c := &s.Callers[i]
		if c.Address == 0 || st.sites[siteKey{c.Ring, c.Address}] != nil {
			continue
		}
		if s.Names[c.Address] == "" {
			unnamed[c.Address] = true
		}
	}
	symbols, err := symbolsAt(unnamed)
	if err != nil {
		st.note("Functions without names: " + err.Error() + ".")
	}
	for i := range s.Callers {
		c := &s.Callers[i]
		symbol := s.Names[c.Address]
		if symbol == "" {
			symbol = symbols[c.Address]
		}
		st.attribute(c, symbol)
	}
	for key, t := range s.Seconds {
		if st.seconds[key.Ring] == nil {
			st.seconds[key.Ring] = newSeconds()
		}
		st.seconds[key.Ring].set(key.Second, t)
	}
	st.notesOf(s)
}

// stranger reports that c has new calls and no program is known that has made them.
func (st *state) stranger(c ringcalls.Caller) bool {
	at := st.sites[siteKey{c.Ring, c.Address}]
	return c.Address != 0 && (at == nil || at.counted != c.All) && st.programs.at(c.Address) == nil
}

// attribute gives the new calls of c to a program. symbol is that of the function.
func (st *state) attribute(c *ringcalls.Caller, symbol string) {
	key := siteKey{c.Ring, c.Address}
	at := st.sites[key]
	if at == nil {
		at = &site{function: functionName(symbol)}
		st.sites[key] = at
	}
	prog := st.programs.at(c.Address)
	if prog == nil {
		prog = &program{}
	}
	if at.program != 0 && at.program != prog.id { // another program has got the address since the last look
		at.function = prog.name
	}
	at.program = prog.id
	since := ringcalls.Tally{
		Calls:       c.All.Calls - at.counted.Calls,
		Failed:      c.All.Failed - at.counted.Failed,
		FailedBytes: c.All.FailedBytes - at.counted.FailedBytes,
	}
	if since == (ringcalls.Tally{}) {
		return
	}
	at.counted = c.All
	id := callerKey{c.Ring, prog.id, at.function}
	by := st.callers[id]
	if by == nil {
		by = &callerCounts{name: prog.name, typ: prog.typ, address: c.Address, minSize: c.MinSize}
		st.callers[id] = by
	}
	// A correction makes a difference negative: the sum wraps around to the right value.
	by.tally.Add(since)
	by.minSize, by.maxSize = min(by.minSize, c.MinSize), max(by.maxSize, c.MaxSize)
}

// stale returns the sites of programs that were unloaded, and forgets them. Those that another program has now are kept: it may be
// calling.
func (st *state) stale() (keys []siteKey) {
	for key, at := range st.sites {
		if prog := st.programs.byID[at.program]; at.program == 0 || prog != nil && !prog.gone {
			continue
		}
		if loaded, _ := st.programs.owners(key.address); loaded == nil {
			keys = append(keys, key)
			delete(st.sites, key)
		}
	}
	return keys
}

// note adds a note, once.
func (st *state) note(text string) {
	if !slices.Contains(st.notes, text) {
		st.notes = append(st.notes, text)
	}
}

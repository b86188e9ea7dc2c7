package ringcalls

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Tally counts calls.
type Tally struct {
	Calls, Failed uint64
	FailedBytes   uint64 // headers and padding included, without calls that no ring of this size serves
}

// Add adds t2.
func (t *Tally) Add(t2 Tally) {
	t.Calls += t2.Calls
	t.Failed += t2.Failed
	t.FailedBytes += t2.FailedBytes
}

// settledCalls is SETTLED_CALLS.
const settledCalls = 64

// Classes is the number of classes of sizes. Class n has the sizes of n significant bits.
const Classes = 32

// Ring is what the CPUs share of a ring.
type Ring struct {
	Start     uint64 // producer's position before the first call that was counted
	Size      uint64
	Overwrite bool
	Tickets   uint64 // calls begun
	Settled   bool   // the last calls all came on one CPU, so that no call on another is in flight
	Contended uint64
}

// CPU has the calls on one ring on one CPU.
type CPU struct {
	All                           Tally
	Invalid                       uint64 // failed calls that no ring of this size serves
	Bytes                         uint64 // of all calls but the invalid ones, refused ones included
	UnsureReserved, UnsureRefused uint64 // calls whose computed outcome nothing confirmed
	Needed                        uint64
	FirstFailure, LastFailure     time.Duration // CLOCK_MONOTONIC; 0 without failures
	MinSize, MaxSize              uint64        // of valid records, as asked for; of no meaning without such calls
	Last                          [2]Call       // in tasks, and in interrupts
	Classes                       [Classes]Tally
}

// Call is a last call of a CPU, unless it was invalid. Only engine Breakpoint has it.
type Call struct {
	Outcome     Outcome
	Ticket      uint64
	ProducerPos uint64 // before it
	Limit       uint64 // position that producer_pos must not leave behind by the ring's size
	Size        uint64
}

// Outcome is what came of a call, as computed at its entry.
type Outcome uint64

// The outcomes.
const (
	Unknown Outcome = iota
	Reserved
	Refused
)

// Caller has the calls on one ring that return to one address.
type Caller struct {
	Ring             ebpf.MapID
	Address          uint64 // 0 if unknown
	All              Tally
	MinSize, MaxSize uint64
}

// Second identifies a ring and a second of CLOCK_MONOTONIC.
type Second struct {
	Ring   ebpf.MapID
	Second uint32
}

// Snapshot has all counts since Open.
type Snapshot struct {
	Rings         map[ebpf.MapID]Ring
	CPUs          map[ebpf.MapID][]CPU // indexed by CPU
	Callers       []Caller
	Seconds       map[Second]Tally  // failures only
	Names         map[uint64]string // symbols of callers' functions, by return address
	Hits          uint64            // calls for which the program ran, whatever the ring
	Missed        uint64            // calls for which it is known not to have run
	Unattributed  uint64            // calls that no ring has
	WithoutCaller uint64            // calls that no caller has
	WithoutSecond uint64            // failures that no second has
	Came          []Arrival         // since the last Read
}

// Follow begins to count on CPUs that came online. Until it is called, or Read, their calls are not seen.
func (c *Counter) Follow() error {
	if b, ok := c.attached.(*breakpoints); ok {
		return b.follow()
	}
	return nil
}

// Read returns the counts, after [Counter.Follow]. They are not those of one moment: calls go on meanwhile.
func (c *Counter) Read() (*Snapshot, error) {
	if err := c.Follow(); err != nil {
		return nil, err
	}
	// The kernel's counts first: a call that comes meanwhile is not taken for a missed one.
	hits, missed, err := c.attached.calls()
	if err != nil {
		return nil, err
	}
	s, err := c.read()
	if err != nil {
		return nil, err
	}
	if b, ok := c.attached.(*breakpoints); ok {
		s.Came, b.came = b.came, nil
	}
	missed = max(missed, hits-min(hits, s.Hits))
	s.Missed = missed - min(missed, c.missed)
	s.Hits -= c.hits
	return s, nil
}

func (c *Counter) read() (*Snapshot, error) {
	s := &Snapshot{
		Rings: map[ebpf.MapID]Ring{}, CPUs: map[ebpf.MapID][]CPU{}, Seconds: map[Second]Tally{}, Names: map[uint64]string{},
	}
	for _, part := range []struct {
		what string
		read func(*Counter, *Snapshot) error
	}{{"totals", readTotals}, {"rings", readRings}, {"calls", readCPUs}, {"callers", readCallers}, {"seconds", readSeconds}, {"names", readNames}} {
		if err := part.read(c, s); err != nil {
			return nil, fmt.Errorf("read %s: %w", part.what, err)
		}
	}
	return s, nil
}

func readTotals(c *Counter, s *Snapshot) error {
	var totals []bpfTotal
	if err := c.objs.Totals.Lookup(uint32(0), &totals); err != nil {
		return err
	}
	for _, t := range totals {
		s.Hits += t.Hits
		s.Unattributed += t.Unattributed
		s.WithoutCaller += t.WithoutCaller
		s.WithoutSecond += t.WithoutSecond
	}
	return nil
}

func readRings(c *Counter, s *Snapshot) error {
	var id uint32
	var r bpfRing
	it := c.objs.Rings.Iterate()
	for it.Next(&id, &r) {
		s.Rings[ebpf.MapID(id)] = Ring{Start: r.Start, Size: r.Size, Overwrite: r.Overwrite != 0, Tickets: r.Tickets,
			Settled: r.Tickets-r.Switched > settledCalls, Contended: r.Contended}
	}
	return it.Err()
}

func readCPUs(c *Counter, s *Snapshot) error {
	var id uint32
	var perCPU []bpfCounts
	it := c.objs.Counted.Iterate()
	for it.Next(&id, &perCPU) {
		cpus := make([]CPU, len(perCPU))
		for i := range perCPU {
			cpus[i] = perCPU[i].cpu()
		}
		s.CPUs[ebpf.MapID(id)] = cpus
	}
	return it.Err()
}

func (c *bpfCounts) cpu() CPU {
	out := CPU{
		All: Tally{c.All.Calls, c.All.Failed, c.All.FailedBytes}, Invalid: c.Invalid, Bytes: c.Bytes,
		UnsureReserved: c.UnsureReserved, UnsureRefused: c.UnsureRefused, Needed: c.Needed,
		FirstFailure: time.Duration(c.FirstFailure), LastFailure: time.Duration(c.LastFailure),
		MinSize: c.MinSize - min(c.MinSize, 1), MaxSize: c.MaxSize,
	}
	for i, l := range c.Last {
		out.Last[i] = Call{Outcome(l.Outcome), l.Ticket, l.ProducerPos, l.Limit, l.Size}
	}
	for i, t := range c.Classes {
		out.Classes[i] = Tally{t.Calls, t.Failed, t.FailedBytes}
	}
	return out
}

func readCallers(c *Counter, s *Snapshot) error {
	var key bpfCallerKey
	var perCPU []bpfCaller
	it := c.objs.Callers.Iterate()
	for it.Next(&key, &perCPU) {
		by := Caller{Ring: ebpf.MapID(key.Ring), Address: key.Address}
		for _, t := range perCPU {
			if t.MinSize == 0 {
				continue
			}
			if by.All.Calls == 0 || t.MinSize-1 < by.MinSize {
				by.MinSize = t.MinSize - 1
			}
			by.MaxSize = max(by.MaxSize, t.MaxSize)
			by.All.Add(Tally{t.All.Calls, t.All.Failed, t.All.FailedBytes})
		}
		s.Callers = append(s.Callers, by)
	}
	return it.Err()
}

func readSeconds(c *Counter, s *Snapshot) error {
	var key bpfSecondKey
	var t bpfSecond
	it := c.objs.Seconds.Iterate()
	for it.Next(&key, &t) {
		s.Seconds[Second{ebpf.MapID(key.Ring), key.Second}] = Tally{Failed: t.Failed, FailedBytes: t.FailedBytes}
	}
	return it.Err()
}

func readNames(c *Counter, s *Snapshot) error {
	var address uint64
	var name [64]byte
	it := c.objs.Names.Iterate()
	for it.Next(&address, &name) {
		s.Names[address] = unix.ByteSliceToString(name[:])
	}
	return it.Err()
}

// Forget removes the failures of a second, to make room.
func (c *Counter) Forget(s Second) error {
	return unlessAbsent(c.objs.Seconds.Delete(&bpfSecondKey{Ring: uint32(s.Ring), Second: s.Second}))
}

// ForgetCaller removes a caller, whose program no longer exists, to make room.
func (c *Counter) ForgetCaller(ring ebpf.MapID, address uint64) error {
	key := bpfCallerKey{Ring: uint32(ring), Address: address}
	return errors.Join(unlessAbsent(c.objs.Callers.Delete(&key)), unlessAbsent(c.objs.Names.Delete(address)))
}

// ForgetRing removes a ring that no longer exists, to make room.
func (c *Counter) ForgetRing(ring ebpf.MapID) error {
	var errs []error
	for _, m := range []*ebpf.Map{c.objs.Rings, c.objs.Counted, c.objs.Wanted} {
		errs = append(errs, unlessAbsent(m.Delete(uint32(ring))))
	}
	return errors.Join(errs...)
}

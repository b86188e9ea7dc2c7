package drops

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/bpf/mapiter"
	"github.com/rbtool/rbtool/internal/bpf/ringcalls"
	"github.com/rbtool/rbtool/internal/clock"
)

// ErrNotSupported reports that no engine works on this kernel. The error also has an [EngineError] for each engine that
// was tried; they match the kernel's errno.
var ErrNotSupported = errors.New("failed reservations cannot be counted on this kernel")

// Engine is a way to see the calls.
type Engine uint8

// The engines.
const (
	AnyEngine  Engine = iota // the first of the others that works
	Fexit                    // programs on the helpers' return
	Breakpoint               // execution breakpoints on the helpers' entry
)

// String returns "any", "fexit" or "breakpoint".
func (e Engine) String() string {
	switch e {
	case AnyEngine:
		return "any"
	case Fexit:
		return "fexit"
	case Breakpoint:
		return "breakpoint"
	}
	return fmt.Sprintf("Engine(%d)", uint8(e))
}

// EngineError says what an engine lacks on this kernel.
type EngineError struct {
	Engine Engine
	Probe  string // what was tried
	Err    error  // what came of it
}

func (e *EngineError) Error() string {
	return fmt.Sprintf("engine %s: %s: %v", e.Engine, e.Probe, e.Err)
}

// Unwrap returns Err.
func (e *EngineError) Unwrap() error { return e.Err }

// EngineInfo describes the engine of a Counter.
type EngineInfo struct {
	Engine Engine
	Why    string // why it was chosen, a sentence
	// CallCost is the time that a counted call takes longer, measured with own calls by New. It is 0 if it is too small to
	// measure.
	CallCost time.Duration
	Lacking  []*EngineError // engines that were tried before it
	Limits   []string       // what the engine cannot see or tell here, a sentence each
}

// Options says what to count. The zero value counts all rings.
type Options struct {
	// Maps are the rings to count. If there are none, all rings are counted, those created later too.
	Maps []ebpf.MapID
	// Engine is the engine to use; AnyEngine takes the first that works, [Fexit] before [Breakpoint].
	Engine Engine
}

// Counter counts since New.
type Counter struct {
	info  EngineInfo
	asked []ebpf.MapID
	start time.Time

	mu     sync.Mutex // protects all below
	closed bool
	calls  *ringcalls.Counter
	maps   *mapiter.Scanner
	clock  clock.Clocks
	state  state

	stop chan struct{} // closed by Close
	done chan struct{} // closed when watch has returned
}

// New starts to count. All calls that begin after it returns are counted. The error matches [ErrNotSupported] if no engine
// works.
func New(o Options) (*Counter, error) {
	maps, err := mapiter.NewScanner()
	if err != nil {
		return nil, fmt.Errorf("count failed reservations: %w: %w", ErrNotSupported, err)
	}
	cfg := ringcalls.Config{Rings: o.Maps}
	var list mapiter.List
	if err := maps.Scan(&list); err != nil {
		return nil, errors.Join(err, maps.Close())
	}
	cfg.MaxRings = 2 * len(list.Entries)
	c := &Counter{
		asked: o.Maps, maps: maps, state: newState(),
		stop: make(chan struct{}), done: make(chan struct{}),
	}
	if err := c.choose(o.Engine, cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("count failed reservations: %w", err), maps.Close())
	}
	c.start = time.Now()
	c.state.programs.refresh()
	go c.watch()
	return c, nil
}

// choose opens the first engine that works.
func (c *Counter) choose(asked Engine, cfg ringcalls.Config) error {
	engines := []Engine{Fexit, Breakpoint}
	why := map[Engine]string{
		Fexit:      "Its counts are exact, and it is the cheaper one.",
		Breakpoint: "The kernel does not let programs trace the helpers' return.",
	}
	if asked != AnyEngine {
		engines, why = []Engine{asked}, map[Engine]string{asked: "It was asked for."}
	}
	errs := []error{ErrNotSupported}
	for _, e := range engines {
		calls, err := ringcalls.Open(implementation[e], cfg)
		if err == nil {
			c.calls = calls
			c.info.Engine, c.info.Why = e, why[e]
			c.info.Limits, c.info.CallCost = calls.Limits(), calls.Cost()
			return nil
		}
		lack := &EngineError{Engine: e, Probe: "load programs", Err: err}
		var probe *ringcalls.ProbeError
		if errors.As(err, &probe) {
			lack.Probe, lack.Err = probe.Probe, probe.Err
		}
		c.info.Lacking = append(c.info.Lacking, lack)
		errs = append(errs, lack)
	}
	return errors.Join(errs...)
}

var implementation = map[Engine]ringcalls.Engine{Fexit: ringcalls.Fexit, Breakpoint: ringcalls.Breakpoint}

// Engine describes the engine that counts.
func (c *Counter) Engine() EngineInfo { return c.info }

// Close ends counting. It is idempotent.
func (c *Counter) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	close(c.stop)
	err := errors.Join(c.calls.Close(), c.maps.Close())
	c.mu.Unlock()
	<-c.done
	return err
}

// watchEvery is how often a Counter looks for programs that were loaded or unloaded, and for CPUs that came online. Of a program that
// lives for a shorter time the id may stay unknown.
const watchEvery = 250 * time.Millisecond

// watch calls follow until Close.
func (c *Counter) watch() {
	defer close(c.done)
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-t.C:
			c.mu.Lock()
			if !c.closed {
				c.follow()
			}
			c.mu.Unlock()
		}
	}
}

// follow counts on CPUs that came online, and updates the table of programs. Before it forgets a program it attributes the calls that were
// counted: another program can get the same addresses.
func (c *Counter) follow() {
	if err := c.calls.Follow(); err != nil {
		c.state.note("CPUs that come online are not counted: " + err.Error() + ".")
	}
	if !c.state.programs.refresh() {
		return
	}
	if s, err := c.calls.Read(); err == nil {
		c.state.take(s)
		c.dropGone()
	}
}

// dropGone makes room in the tables that programs which were unloaded use.
func (c *Counter) dropGone() {
	for _, key := range c.state.stale() {
		if err := c.calls.ForgetCaller(key.ring, key.address); err != nil {
			c.state.note("Callers that are gone stay in the table: " + err.Error() + ".")
		}
	}
	c.state.programs.dropGone()
}

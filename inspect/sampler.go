package inspect

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/bpf/mapiter"
	"github.com/rbtool/rbtool/internal/ring"
)

// SamplerOptions say what a [Sampler] looks at. The zero value is right.
type SamplerOptions struct {
	Options
	// RelateEvery is how often who and what uses the maps is looked up again,
	// which takes longer than a sample; 0 is 10 seconds. It is also done when a map
	// has appeared, though not more often than every 2 seconds.
	RelateEvery time.Duration
	// StuckAfter is how far apart the samples must be, at least, that are to show
	// that a ring is stuck; 0 is half a second.
	StuckAfter time.Duration
}

const (
	defaultRelateEvery = 10 * time.Second
	defaultStuckAfter  = 500 * time.Millisecond
	relateNew          = 2 * time.Second // bounds the cost where maps come and go all the time
)

// Sampler watches all rings of the host: it takes samples of their positions,
// and tells from one to the next what flowed, and what is stuck. With the kernel's
// iterator a sample of 500 rings takes about a millisecond and three descriptors.
//
// One goroutine at a time may use a Sampler.
type Sampler struct {
	opts   SamplerOptions
	host   *host
	tracks map[ebpf.MapID]*tracked
	count  uint64 // of samples

	related  time.Time // when relations were looked up
	notes    []string  // of that time
	appeared bool      // a map, since then
}

// tracked is a map that was seen.
type tracked struct {
	track
	identity identity
	relations
	seen uint64 // the count of the sample that saw it last
}

// relations are who and what uses a map.
type relations struct {
	users    []User
	unseen   int
	blind    bool
	programs []Program
	pins     []string
}

// setUsers stores the users of m.
func (r *relations) setUsers(m *Map) {
	r.users, r.unseen, r.blind = m.Users, m.UnseenWriters, m.blind
}

// identity tells a map from another that has its id.
type identity struct {
	kernel mapiter.Identity // 0 where it is not known
	typ    ebpf.MapType
	name   string
	bytes  uint64
	flags  uint32
}

// NewSampler makes a Sampler, which the caller closes. The first Sample loads the
// iterators, and does without where that fails for want of a privilege or of a kernel
// feature; what is not possible without is its error, or a note.
func NewSampler(opts SamplerOptions) *Sampler {
	if opts.RelateEvery == 0 {
		opts.RelateEvery = defaultRelateEvery
	}
	if opts.StuckAfter == 0 {
		opts.StuckAfter = defaultStuckAfter
	}
	return &Sampler{opts: opts, host: newHost(), tracks: map[ebpf.MapID]*tracked{}}
}

// Close unloads the iterators. It is idempotent; a Sample after it is an error.
func (s *Sampler) Close() error {
	if s.host != nil {
		s.host.close()
		s.host = nil
	}
	return nil
}

// Sample looks at all maps. What it returns is the caller's, but for the lists of
// users, programs and pins, which later samples return again.
func (s *Sampler) Sample() (*Report, error) {
	if s.host == nil {
		return nil, fmt.Errorf("sample maps: %w", os.ErrClosed)
	}
	f, err := s.host.list()
	if err != nil {
		return nil, fmt.Errorf("sample maps: %w", err)
	}
	now := time.Now()
	s.count++
	tracks := make([]*tracked, len(f.maps))
	gotStuck := false
	for i := range f.maps {
		k := s.follow(&f.maps[i])
		tracks[i] = k
		before := k.flow.State
		if m := &f.maps[i]; m.Positions != nil {
			k.sample(now, *m.Positions, m.Bytes)
		}
		gotStuck = gotStuck || k.flow.State == ConsumerStuck && before != ConsumerStuck
	}
	for id, k := range s.tracks {
		if k.seen != s.count {
			delete(s.tracks, id) // the map is gone
		}
	}
	s.relate(now, f.maps, tracks, gotStuck)
	for i, k := range tracks {
		k.addTo(&f.maps[i])
	}
	return &Report{Time: now, Maps: f.maps, Notes: append(f.notes, s.notes...)}, nil
}

// relate brings what is known of the relations of maps up to date, where it is time
// for that.
func (s *Sampler) relate(now time.Time, maps []Map, tracks []*tracked, gotStuck bool) {
	age := now.Sub(s.related)
	switch {
	case age >= s.opts.RelateEvery, s.appeared && age >= min(relateNew, s.opts.RelateEvery):
		s.related, s.appeared = now, false
		s.notes = s.host.relate(maps, s.opts.Options)
		for i, k := range tracks {
			k.relations = relations{programs: maps[i].Programs, pins: maps[i].Pins}
			k.setUsers(&maps[i])
		}
	case gotStuck && !s.opts.SkipUsers:
		// Is there a consumer at all? That takes a tenth of the time.
		s.host.relate(maps, Options{SkipPrograms: true, SkipPins: true})
		for i, k := range tracks {
			k.setUsers(&maps[i])
		}
	}
}

// follow returns the track of a map.
func (s *Sampler) follow(m *Map) *tracked {
	id := identity{m.identity, m.Type, m.Name, m.Bytes, m.Flags}
	k := s.tracks[m.ID]
	if k == nil || k.identity != id || k.restarted(m) {
		k = &tracked{identity: id, track: track{stuckAfter: s.opts.StuckAfter}}
		s.tracks[m.ID] = k
		s.appeared = true
	}
	k.seen = s.count
	return k
}

// restarted reports whether m must be another ring than the one tracked, where
// no identity tells: the kernel, which writes a kernel ring's producer_pos, never moves
// it back.
func (k *tracked) restarted(m *Map) bool {
	return k.identity.kernel == 0 && m.Type == ebpf.RingBuf && k.started && m.Positions != nil &&
		ring.Pos(m.Positions.Producer).Before(ring.Pos(k.last.Producer))
}

// addTo adds to m what is known from before.
func (k *tracked) addTo(m *Map) {
	m.Users, m.UnseenWriters, m.blind = k.users, k.unseen, k.blind
	m.Programs, m.Pins = k.programs, k.pins
	if m.Positions == nil {
		return
	}
	flow := k.flow
	flow.Rates = slices.Clone(flow.Rates)
	if flow.State == ConsumerStuck && m.unconsumed() {
		flow.State = Unconsumed
	}
	m.Flow = &flow
}

// unconsumed reports whether it is certain that no process consumes the ring.
func (m *Map) unconsumed() bool {
	if m.Type != ebpf.RingBuf || m.Users == nil || m.UnseenWriters > 0 || m.blind {
		return false // the kernel consumes a user ring
	}
	return !slices.ContainsFunc(m.Users, func(u User) bool { return u.Consumes || !u.Exact })
}

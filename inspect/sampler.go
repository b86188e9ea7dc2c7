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

// SamplerOptions are the options of a [Sampler]. The zero value suits most uses. With SkipUsers
// the Sampler cannot distinguish [Unconsumed] from [ConsumerStuck].
type SamplerOptions struct {
	Options
	// RelateEvery is the interval at which users, programs and pins are looked up again, which
	// takes longer than a sample; 0 means 10 seconds. A new map also causes a lookup, at
	// most every 2 seconds.
	RelateEvery time.Duration
	// StuckAfter is the time without progress after which a ring counts as stuck; 0 means half
	// a second.
	StuckAfter time.Duration
}

const (
	defaultRelateEvery = 10 * time.Second
	defaultStuckAfter  = 500 * time.Millisecond
	relateNew          = 2 * time.Second // interval at which a new map can cause a lookup: bounds the cost if maps keep appearing
)

// Sampler takes samples of the positions of all rings of the host. From successive samples it
// computes the flow of each ring and which rings are stuck. With the kernel's iterator a sample of
// 500 rings takes about a millisecond and three descriptors.
//
// Only one goroutine at a time can use a Sampler.
type Sampler struct {
	opts   SamplerOptions
	host   *host
	tracks map[ebpf.MapID]*tracked
	count  uint64 // number of samples taken

	related  time.Time // when relations were last looked up
	notes    []string  // notes of that lookup
	appeared bool      // a map has appeared since related
}

// tracked is what a Sampler remembers about a map between samples.
type tracked struct {
	track
	identity identity
	relations
	seen uint64 // value of Sampler.count in the last sample that had the map
}

// relations are the users, programs and pins of a map.
type relations struct {
	users    []User
	unseen   int
	blind    bool // users may be incomplete
	programs []Program
	pins     []string
}

// setUsers copies the users of m to r. blind means that they may be incomplete.
func (r *relations) setUsers(m *Map, blind bool) {
	r.users, r.unseen, r.blind = m.Users, m.UnseenWriters, blind
}

// identity distinguishes a map from a later map with the same id.
type identity struct {
	kernel mapiter.Identity // 0 if unknown
	typ    ebpf.MapType
	name   string
	bytes  uint64
	flags  uint32
}

// NewSampler returns a Sampler, which the caller must close. The first call of Sample loads the
// iterators. If a privilege or kernel feature for them is missing, the Sampler works without them;
// Sample then returns an error or notes for what it cannot do.
func NewSampler(opts SamplerOptions) *Sampler {
	if opts.RelateEvery == 0 {
		opts.RelateEvery = defaultRelateEvery
	}
	if opts.StuckAfter == 0 {
		opts.StuckAfter = defaultStuckAfter
	}
	return &Sampler{opts: opts, host: newHost(), tracks: map[ebpf.MapID]*tracked{}}
}

// Close unloads the iterators. It is idempotent. Sample after Close returns an error matching
// [os.ErrClosed].
func (s *Sampler) Close() error {
	if s.host != nil {
		s.host.close()
		s.host = nil
	}
	return nil
}

// Sample describes all maps, each ring with its [Flow]. Call it at the interval at which the flow is to be
// measured, such as once a second. The caller can keep the report, but must not change the lists of users,
// programs and pins, which later reports share. The errors are those of [All], and [os.ErrClosed] after
// Close.
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
		var id mapiter.Identity
		if f.ids != nil {
			id = f.ids[i]
		}
		k := s.follow(&f.maps[i], id)
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
	return &Report{Time: now, Maps: f.maps, PerfEventArrays: f.perf, Notes: append(f.notes, s.notes...)}, nil
}

// relate looks up the relations of maps if they are older than RelateEvery or a map has appeared. If a ring just
// became stuck, it looks up the users only.
func (s *Sampler) relate(now time.Time, maps []Map, tracks []*tracked, gotStuck bool) {
	age := now.Sub(s.related)
	switch {
	case age >= s.opts.RelateEvery, s.appeared && age >= min(relateNew, s.opts.RelateEvery):
		s.related, s.appeared = now, false
		var blind bool
		s.notes, blind = s.host.relate(maps, s.opts.Options)
		for i, k := range tracks {
			k.relations = relations{programs: maps[i].Programs, pins: maps[i].Pins}
			k.setUsers(&maps[i], blind)
		}
	case gotStuck && !s.opts.SkipUsers:
		// Find out whether the ring has a consumer. Looking up only users takes a tenth of the time.
		_, blind := s.host.relate(maps, Options{SkipPrograms: true, SkipPins: true})
		for i, k := range tracks {
			k.setUsers(&maps[i], blind)
		}
	}
}

// follow returns what is remembered about m. It starts anew if m is not the map that had this id before.
func (s *Sampler) follow(m *Map, kernel mapiter.Identity) *tracked {
	id := identity{kernel, m.Type, m.Name, m.Bytes, m.Flags}
	k := s.tracks[m.ID]
	if k == nil || k.identity != id || k.restarted(m) {
		k = &tracked{identity: id, track: track{stuckAfter: s.opts.StuckAfter}}
		s.tracks[m.ID] = k
		s.appeared = true
	}
	k.seen = s.count
	return k
}

// restarted reports whether m must be another ring than the tracked one. It serves if the kernel's identity is
// unknown: producer_pos of a RINGBUF, which only the kernel writes, never moves back.
func (k *tracked) restarted(m *Map) bool {
	return k.identity.kernel == 0 && m.Type == ebpf.RingBuf && k.started && m.Positions != nil &&
		!ring.Pos(k.last.Producer).NotAfter(ring.Pos(m.Positions.Producer))
}

// addTo adds the relations and the flow to m.
func (k *tracked) addTo(m *Map) {
	m.Users, m.UnseenWriters = k.users, k.unseen
	m.Programs, m.Pins = k.programs, k.pins
	if m.Positions == nil {
		return
	}
	flow := k.flow
	flow.Rates = slices.Clone(flow.Rates)
	if flow.State == ConsumerStuck && m.Type == ebpf.RingBuf && k.unconsumed() {
		flow.State = Unconsumed
	}
	m.Flow = &flow
}

// unconsumed reports whether it is certain that no process consumes a RINGBUF. It does not apply to user rings,
// which the kernel consumes.
func (r *relations) unconsumed() bool {
	if r.users == nil || r.unseen > 0 || r.blind {
		return false
	}
	return !slices.ContainsFunc(r.users, func(u User) bool { return u.Consumes || !u.Exact })
}

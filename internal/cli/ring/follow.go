package ring

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/cli/command"
)

// How often rings that come and go are looked for: less often if a look takes long. Before Linux 6.8 each entry of an array of
// maps takes milliseconds.
const (
	followEvery = 250 * time.Millisecond
	followShare = 30 // a look takes at most this part of the time
)

// follower looks which rings come and go. Only its goroutine uses it.
type follower struct {
	*reading
	references *inspect.References
	known      map[ebpf.MapID]*sighting
	ended      bool // a change has said that no other rings can come

	mu     sync.Mutex
	untold *change // what the reading goroutine has not applied yet, or nil
}

// sighting is what a follower knows of a ring.
type sighting struct {
	member  *member // nil if the ring is not read: it was left out, or seen once
	ignored bool    // the ring was left out, was freed, or cannot be read any more
	why     string  // why the ring goes, if it does
}

// Why rings go. One that no longer matches may match again.
const (
	freed     = "was freed: no program, pin or other process has it"
	unmatched = "is no longer one of the rings to read"
)

// change is what a follower has found.
type change struct {
	come  []*member
	going map[*member]string // why
	left  leftOut
	ended bool // no other rings can come
}

func (c *change) empty() bool {
	return len(c.come)+len(c.going)+len(c.left.rings) == 0 && !c.ended
}

// add adds what was found later.
func (c *change) add(later *change) {
	c.come = append(c.come, later.come...)
	maps.Copy(c.going, later.going)
	c.left.rings = append(c.left.rings, later.left.rings...)
	c.left.consumed = append(c.left.consumed, later.left.consumed...)
	c.left.others = append(c.left.others, later.left.others...)
	c.ended = c.ended || later.ended
}

// follow looks for rings that come and go until ctx is done. Then it closes the channel that it returns.
func (r *reading) follow(ctx context.Context) <-chan struct{} {
	done := make(chan struct{})
	f := follower{reading: r, references: inspect.NewReferences(), known: map[ebpf.MapID]*sighting{}}
	for _, m := range r.members {
		f.known[m.id] = &sighting{member: m}
	}
	for _, id := range r.left.rings {
		f.known[id] = &sighting{ignored: true}
	}
	go func() {
		defer close(done)
		defer f.references.Close()
		for pause := followEvery; ; {
			timer := time.NewTimer(pause)
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-timer.C:
			}
			began := time.Now()
			found := f.look()
			f.tell(&found)
			pause = max(followEvery, followShare*time.Since(began))
		}
	}()
	return done
}

// tell has the reading goroutine apply c. It wakes it only for a change, and once for all that it has not applied yet.
func (f *follower) tell(c *change) {
	if c.empty() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.untold != nil {
		f.untold.add(c)
		return
	}
	f.untold = c
	f.rings.Do(func() {
		f.mu.Lock()
		c := f.untold
		f.untold = nil
		f.mu.Unlock()
		f.apply(c)
	})
}

// look finds what has changed. It names the rings that go until they have gone.
func (f *follower) look() change {
	c := change{going: map[*member]string{}, left: leftOut{r: f.reading}}
	f.forget()
	f.findFreed()
	if f.grows {
		f.findOthers(&c)
	}
	for _, s := range f.known {
		if s.member != nil && s.why != "" {
			c.going[s.member] = s.why
		}
	}
	return c
}

// forget ends the sightings of the rings that have gone.
func (f *follower) forget() {
	for id, s := range f.known {
		switch {
		case s.member == nil || !s.member.gone.Load():
		case s.why == unmatched:
			delete(f.known, id)
		default:
			s.member, s.ignored = nil, true
		}
	}
}

// findFreed finds the rings that only this process keeps: each has one open file, that of the member. Without the privilege to
// count references it finds none.
func (f *follower) findFreed() {
	counts, err := f.references.Count()
	if err != nil {
		return
	}
	for id, s := range f.known {
		if s.member != nil && counts[id] == 1 {
			s.why = freed
		}
	}
}

// findOthers finds rings that match now, and those that do not match any more.
func (f *follower) findOthers(c *change) {
	found, outer, err := f.opts.rings.find(false)
	if err != nil {
		return
	}
	if !f.ended && !outer && !f.opts.rings.alive() {
		c.ended, f.ended = true, true
	}
	matching := map[ebpf.MapID]bool{}
	var come []*member
	for _, ring := range found {
		matching[ring.id] = true
		s := f.known[ring.id]
		switch {
		case s == nil:
			// Its owner may be about to consume it: it is looked at once more.
			f.known[ring.id] = &sighting{}
		case s.member == nil && !s.ignored:
			s.member = &member{chosen: ring}
			come = append(come, s.member)
			continue
		}
		ring.Close()
	}
	for id, s := range f.known {
		switch {
		case matching[id]:
		case s.member == nil:
			delete(f.known, id)
		case s.member.outer != 0 || !s.member.named:
			if s.why == "" {
				s.why = unmatched
			}
		}
	}
	f.prepare(c, come)
}

// prepare leaves out rings that cannot be read.
func (f *follower) prepare(c *change, come []*member) {
	refuse := func(m *member, err error) {
		m.named = false // its error does not end the command
		f.known[m.id] = &sighting{ignored: true}
		c.left.add(m, err)
	}
	come, err := f.unconsumed(come, refuse)
	if err != nil {
		for _, m := range come {
			refuse(m, err)
		}
		return
	}
	c.come = f.identify(come, refuse)
}

// apply starts to read the rings that came, and stops reading those that go when all their records were read.
func (r *reading) apply(c *change) {
	for _, note := range c.left.notes() {
		command.Note(r.stderr, "%s", note)
	}
	for _, m := range c.come {
		m.name = r.distinct(m)
		joined, err := r.join(m, false)
		if err != nil {
			command.Note(r.stderr, "%s is left out: %v", m.name, err)
		}
		if !joined {
			m.gone.Store(true)
			m.Close()
		} else {
			command.Note(r.stderr, "%s has come", m.name)
		}
	}
	r.reportTypes(c.come)
	for i, m := range r.members {
		if why, ok := c.going[m]; ok {
			m.why = why
			r.rings.Retire(i)
		}
	}
	if c.ended {
		r.rings.Grows = false
	}
}

// distinct returns a name that no other ring has.
func (r *reading) distinct(m *member) string {
	for _, other := range r.members {
		if other.name == m.name {
			return numbered(m.name, m.id)
		}
	}
	return m.name
}

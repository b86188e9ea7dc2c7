package ring

import (
	"testing"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/internal/stream"
)

// Changes that the reading goroutine has not applied yet are one change, and no change does not wake it.
func TestAFollowerTellsChanges(t *testing.T) {
	f := follower{reading: &reading{rings: stream.ObserveRings()}}
	defer f.rings.Close()
	f.tell(&change{going: map[*member]string{}})
	if f.untold != nil {
		t.Error("no change is told")
	}
	a, b := &member{}, &member{}
	f.tell(&change{going: map[*member]string{a: unmatched}})
	f.tell(&change{going: map[*member]string{a: freed}, come: []*member{b}, ended: true})
	if c := f.untold; c == nil || len(c.going) != 1 || c.going[a] != freed || len(c.come) != 1 || !c.ended {
		t.Errorf("told: %+v", c)
	}
}

// A ring that has gone because it no longer matched may come again. One that was freed may not.
func TestAFollowerForgets(t *testing.T) {
	f := follower{known: map[ebpf.MapID]*sighting{}}
	for id, why := range map[ebpf.MapID]string{1: unmatched, 2: freed, 3: ""} {
		m := &member{}
		m.gone.Store(true)
		f.known[id] = &sighting{member: m, why: why}
	}
	f.known[4] = &sighting{member: &member{}, why: unmatched}
	f.forget()
	if f.known[1] != nil || !f.known[2].ignored || !f.known[3].ignored || f.known[4].member == nil {
		t.Errorf("known: %v", f.known)
	}
}

package inspect

import (
	"errors"
	"testing"

	"github.com/cilium/ebpf"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rbtool/rbtool/bpf/mapusers"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/pin"
)

// scene is a set of processes that use maps in every way that matters.
type scene struct {
	maps  []*ebpf.Map
	exact map[ebpf.MapID][]User // PID and Comm come from the processes
	// likely is what /proc shows of it.
	likely map[ebpf.MapID][]User
}

func newScene(t *testing.T) scene {
	t.Helper()
	sc := scene{exact: map[ebpf.MapID][]User{}, likely: map[ebpf.MapID][]User{}}
	newMap := func(spec ebpf.MapSpec) *ebpf.Map {
		m := testenv.Map(t, &spec)
		sc.maps = append(sc.maps, m)
		return m
	}
	const (
		mapped   = "it has a map of this size mapped"
		consumer = ", and the consumer page of one writable"
		closed   = "it has a map of this size mapped whose descriptor it closed"
		oneOfTwo = "it has 1 of the 2 maps of this size mapped that it holds"
	)
	expect := func(m *ebpf.Map, a actor, exact User, why string) {
		id := idOf(t, m)
		exact.PID, exact.Exact = a.pid, true
		likely := exact
		likely.Exact, likely.Why = false, why
		sc.exact[id] = append(sc.exact[id], exact)
		sc.likely[id] = append(sc.likely[id], likely)
	}
	ring := ebpf.MapSpec{Name: "ring", Type: ebpf.RingBuf, MaxEntries: 8192}
	// Sizes that nothing else has, so that the likely answer is clear.
	ring1, ring2, ring3, ring4, ring5 := ring, ring, ring, ring, ring
	ring1.MaxEntries, ring2.MaxEntries, ring4.MaxEntries, ring5.MaxEntries = 16384, 32768, 65536, 1<<17

	m := newMap(ring1)
	expect(m, start(t, "hold", m), User{Holds: true}, "")
	expect(m, start(t, "consume", m), User{Holds: true, Mapped: true, Consumes: true}, mapped+consumer)
	expect(m, start(t, "observe", m), User{Holds: true, Mapped: true}, mapped)

	m = newMap(ring2)
	expect(m, start(t, "keep the mapping", m), User{Mapped: true, Consumes: true}, closed+consumer)

	// /proc does not show which of two rings of one size is mapped.
	m, other := newMap(ring3), newMap(ring3)
	a := start(t, "consume the first of several", m, other)
	expect(m, a, User{Holds: true, Mapped: true, Consumes: true}, oneOfTwo+consumer)
	expect(other, a, User{Holds: true}, "")
	id := idOf(t, other)
	sc.likely[id] = []User{{PID: a.pid, Holds: true, Mapped: true, Consumes: true, Why: oneOfTwo + consumer}}

	m, other = newMap(ring4), newMap(ring5)
	a = start(t, "consume all of several", m, other)
	expect(m, a, User{Holds: true, Mapped: true, Consumes: true}, mapped+consumer)
	expect(other, a, User{Holds: true, Mapped: true, Consumes: true}, mapped+consumer)

	// The globals of a program look like a consumer page.
	globals := testenv.Map(t, &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 64, MaxEntries: 1, Flags: 1 << 10 /* BPF_F_MMAPABLE */})
	expect(m, start(t, "map globals", m, globals), User{Holds: true}, "")

	return sc
}

// check compares users with what the scene expects, but for this process,
// which holds all the maps.
func (sc scene) check(t *testing.T, want, got map[ebpf.MapID][]User) {
	t.Helper()
	for _, m := range sc.maps {
		id := idOf(t, m)
		others := []User{}
		self := 0
		for _, u := range got[id] {
			if u.Self {
				self++
				if !u.Holds || u.Mapped || u.Consumes {
					t.Errorf("this process: %+v", u)
				}
				continue
			}
			if u.Comm == "" {
				t.Errorf("no comm: %+v", u)
			}
			u.Comm = ""
			others = append(others, u)
		}
		if self != 1 {
			t.Errorf("this process is listed %d times", self)
		}
		byPID := cmpopts.SortSlices(func(a, b User) bool { return a.PID < b.PID })
		if diff := gocmp.Diff(want[id], others, byPID, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("map of %d bytes, -want +got:\n%s", m.MaxEntries(), diff)
		}
	}
}

func TestUsersExactly(t *testing.T) {
	testenv.NoLeaks(t)
	needIterators(t)
	sc := newScene(t)
	usage, err := Users(sc.maps...)
	if err != nil {
		t.Fatal(err)
	}
	if len(usage.Notes) > 0 {
		t.Errorf("notes: %q", usage.Notes)
	}
	sc.check(t, sc.exact, usage.Users)
}

func TestUsersLikely(t *testing.T) {
	testenv.NoLeaks(t)
	sc := newScene(t)
	procs, _, err := readProcesses("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var shapes []shape
	for _, m := range sc.maps {
		shapes = append(shapes, shapeOf(m, idOf(t, m)))
	}
	sc.check(t, sc.likely, likelyUsers(shapes, procs).Users)
}

// What needs newer kernels than the scene does.
func TestUsersOfUserRingsAndArenas(t *testing.T) {
	user := userRing(t, 1<<18)
	maps := []*ebpf.Map{user}
	producer := start(t, "produce", user)
	holder := start(t, "hold", user)
	const why = "it has a map of this size mapped"
	sc := scene{maps: maps,
		exact: map[ebpf.MapID][]User{idOf(t, user): {
			{PID: producer.pid, Holds: true, Mapped: true, Produces: true, Exact: true},
			{PID: holder.pid, Holds: true, Exact: true},
		}},
		likely: map[ebpf.MapID][]User{idOf(t, user): {
			{PID: producer.pid, Holds: true, Mapped: true, Produces: true, Why: why},
			{PID: holder.pid, Holds: true},
		}},
	}
	arena, err := ebpf.NewMap(&ebpf.MapSpec{Name: "arena", Type: ebpf.Arena, MaxEntries: 16, Flags: 1 << 10, MapExtra: 1 << 44})
	if err == nil {
		defer arena.Close()
		sc.maps = append(sc.maps, arena)
		mapper := start(t, "map an arena", arena)
		sc.exact[idOf(t, arena)] = []User{{PID: mapper.pid, Holds: true, Mapped: true, Exact: true}}
		sc.likely[idOf(t, arena)] = []User{{PID: mapper.pid, Holds: true, Mapped: true, Why: why}}
	}
	var shapes []shape
	for _, m := range sc.maps {
		shapes = append(shapes, shapeOf(m, idOf(t, m)))
	}
	procs, _, err2 := readProcesses("/proc")
	if err2 != nil {
		t.Fatal(err2)
	}
	sc.check(t, sc.likely, likelyUsers(shapes, procs).Users)
	needIterators(t)
	usage, err2 := Users(sc.maps...)
	if err2 != nil {
		t.Fatal(err2)
	}
	sc.check(t, sc.exact, usage.Users)
	testenv.SkipIfNotSupported(t, "arena", err)
	if err != nil {
		t.Fatal(err)
	}
}

func TestUsersEndWithTheirProcess(t *testing.T) {
	needIterators(t)
	m := testenv.Ring(t, 4096)
	a := start(t, "consume", m)
	consumers := func() (pids []int) {
		usage, err := Users(m)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range usage.Users[idOf(t, m)] {
			if u.Consumes {
				pids = append(pids, u.PID)
			}
		}
		return pids
	}
	if diff := gocmp.Diff([]int{a.pid}, consumers()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	a.end()
	if pids := consumers(); len(pids) > 0 {
		t.Errorf("consumers after the end: %v", pids)
	}
}

func TestUsersRefusesOtherMaps(t *testing.T) {
	_, err := Users(hashMap(t, "test_hash"))
	if !errors.Is(err, pin.ErrWrongType) || err.Error() != "find users of map: wrong type: it is a map of type hash, wanted ringbuf or user_ringbuf or arena" {
		t.Error(err)
	}
}

// needIterators skips where mapusers cannot work.
func needIterators(t *testing.T) {
	t.Helper()
	s, err := mapusers.NewScanner()
	testenv.SkipIfNotSupported(t, "iter-task-vma", err)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
}

func hashMap(t *testing.T, name string) *ebpf.Map {
	t.Helper()
	return testenv.Map(t, &ebpf.MapSpec{Name: name, Type: ebpf.Hash, KeySize: 4, ValueSize: 4, MaxEntries: 1})
}

func idOf(t *testing.T, m *ebpf.Map) ebpf.MapID {
	t.Helper()
	info, err := m.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	return id
}

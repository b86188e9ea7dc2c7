package inspect

import (
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rbtool/rbtool/internal/bpf/mapusers"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/pin"
)

// scene is a set of processes that use maps in all relevant ways.
type scene struct {
	maps  []*ebpf.Map
	exact map[ebpf.MapID][]User // users that the iterators find
	// likely is what can be inferred from /proc.
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
		consumer = ", and the consumer page of a ring mapped writable"
		closed   = "it has mapped a map of this size whose descriptor it closed"
		oneOfTwo = "it has mapped 1 of the 2 maps of this size that it holds"
	)
	expect := func(m *ebpf.Map, a actor, exact User, why string) {
		id := idOf(t, m)
		exact.PID, exact.Exact = a.pid, true
		likely := exact
		likely.Exact, likely.Why = false, why
		sc.exact[id] = append(sc.exact[id], exact)
		sc.likely[id] = append(sc.likely[id], likely)
	}
	ring := ebpf.MapSpec{Name: "ring", Type: ebpf.RingBuf, MaxEntries: 2 * testenv.PageSize}
	// No other map has these sizes, so what is inferred from /proc is unambiguous.
	ring1, ring2, ring3, ring4, ring5 := ring, ring, ring, ring, ring
	page := testenv.PageSize
	ring1.MaxEntries, ring2.MaxEntries, ring4.MaxEntries, ring5.MaxEntries = 4*page, 8*page, 16*page, 32*page

	m := newMap(ring1)
	expect(m, start(t, "hold", m), User{Holds: true}, "")
	expect(m, start(t, "consume", m), User{Holds: true, Mapped: true, Consumes: true}, mapped+consumer)
	expect(m, start(t, "observe", m), User{Holds: true, Mapped: true}, mapped)

	m = newMap(ring2)
	expect(m, start(t, "keep the mapping", m), User{Mapped: true, Consumes: true}, closed+consumer)

	// /proc does not show which of two rings of the same size is mapped.
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

	// In /proc a mapping of a program's global variables looks like one of a consumer page.
	globals := testenv.Map(t, &ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 64, MaxEntries: 1, Flags: mmapable})
	expect(m, start(t, "map globals", m, globals), User{Holds: true}, "")

	return sc
}

// check compares the users got with the users wanted. It checks this process, which holds all maps,
// separately.
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
	sc.checkExact(t)
}

func (sc scene) checkExact(t *testing.T) {
	t.Helper()
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
	sc.check(t, sc.likely, sc.likelyUsers(t))
}

// likelyUsers returns the users inferred from /proc. It omits processes that the test did not
// start, which can have a ring of the same size.
func (sc scene) likelyUsers(t *testing.T) map[ebpf.MapID][]User {
	t.Helper()
	procs, _, err := readProcesses("/proc")
	if err != nil {
		t.Fatal(err)
	}
	ours := map[int]bool{os.Getpid(): true}
	var shapes []shape
	for _, m := range sc.maps {
		id := idOf(t, m)
		shapes = append(shapes, shapeOf(m, id))
		for _, u := range sc.likely[id] {
			ours[u.PID] = true
		}
	}
	procs = slices.DeleteFunc(procs, func(p process) bool { return !ours[p.pid] })
	return likelyUsers(shapes, procs).Users
}

func TestUsersOfAUserRing(t *testing.T) {
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
	sc.check(t, sc.likely, sc.likelyUsers(t))
	needIterators(t)
	sc.checkExact(t)
}

func TestUsersOfAnArena(t *testing.T) {
	m := arena(t, 16)
	id, a := idOf(t, m), start(t, "map an arena", m)
	sc := scene{maps: []*ebpf.Map{m},
		exact:  map[ebpf.MapID][]User{id: {{PID: a.pid, Holds: true, Mapped: true, Exact: true}}},
		likely: map[ebpf.MapID][]User{id: {{PID: a.pid, Holds: true, Mapped: true, Why: "it has a map of this size mapped"}}},
	}
	sc.check(t, sc.likely, sc.likelyUsers(t))
	sc.checkExact(t)
}

// arena creates an arena with a fixed address.
func arena(t *testing.T, pages uint32) *ebpf.Map {
	t.Helper()
	if err := features.HaveMapType(ebpf.Arena); err != nil {
		testenv.SkipIfNotSupported(t, "arena", err)
		t.Fatal(err)
	}
	return testenv.Map(t, &ebpf.MapSpec{Name: "arena", Type: ebpf.Arena, MaxEntries: pages, Flags: mmapable, MapExtra: 1 << 44})
}

// mmapable is BPF_F_MMAPABLE, include/uapi/linux/bpf.h.
const mmapable = 1 << 10

func TestUsersEndWithTheirProcess(t *testing.T) {
	needIterators(t)
	m := testenv.Ring(t, testenv.PageSize)
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

// needIterators skips the test if the iterators of package mapusers cannot be loaded.
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

func TestOwnerNames(t *testing.T) {
	consumer := func(comm string) User { return User{Comm: comm, Consumes: true} }
	holder := func(comm string) User { return User{Comm: comm, Holds: true} }
	self := User{Comm: "rbtool", Holds: true, Self: true}
	for _, tt := range []struct {
		rule   string
		users  []User
		unseen int
		want   string
	}{
		{"unknown", nil, 0, ""},
		{"this process alone", []User{self}, 0, ""},
		{"the consumer, not who merely holds it", []User{holder("a"), consumer("z"), self}, 0, "z"},
		{"several, in order", []User{consumer("z"), consumer("b")}, 0, "b,z"},
		{"several processes of one name", []User{consumer("b"), consumer("a"), consumer("b")}, 0, "a,b"},
		{"holders without a consumer", []User{holder("x"), holder("w")}, 0, "w,x"},
		{"a user ring's producer", []User{holder("x"), {Comm: "p", Produces: true}}, 0, "p"},
		{"a consumer that cannot be seen", []User{holder("x")}, 1, "(unseen)"},
		{"consumers, one of them unseen", []User{consumer("z")}, 1, "(unseen),z"},
	} {
		m := Map{Users: tt.users, UnseenWriters: tt.unseen}
		if got := m.OwnerNames(); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.rule, got, tt.want)
		}
	}
}

func TestUsersThatPassAreNoOwners(t *testing.T) {
	const id, other = 7, 8
	u := &Usage{Users: map[ebpf.MapID][]User{
		id: {{PID: 1, Holds: true}, {PID: 2, Holds: true}, {PID: 3, Holds: true, Mapped: true}, {PID: 4, Holds: true, Self: true}},
	}}
	if diff := gocmp.Diff(map[holder]bool{{id, 1}: true, {id, 2}: true}, u.holders()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	u.keep(map[ebpf.MapID][]User{id: {{PID: 2, Mapped: true}}, other: {{PID: 1, Holds: true}}})
	var left []int
	for _, user := range u.Users[id] {
		left = append(left, user.PID)
	}
	if diff := gocmp.Diff([]int{2, 3, 4}, left); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

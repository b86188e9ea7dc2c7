package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/pin"
)

func TestAllDescribesEveryRingAndArena(t *testing.T) {
	testenv.NoLeaks(t)
	dir := testenv.BPFFS(t)
	ring := testenv.Map(t, &ebpf.MapSpec{Name: "all_ring", Type: ebpf.RingBuf, MaxEntries: 2 * testenv.PageSize})
	p := load(t, ring)
	defer p.Close()
	produce(t, p, producer.Job{Op: producer.Output, Count: uint64(testenv.PageSize) / 64, Size: 24}) // a quarter of the ring
	for _, path := range []string{"/b", "/a/ring"} {
		if err := pin.Map(ring, dir+path, pin.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	hash := hashMap(t, "all_hash")

	report, err := All(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if in(report, idOf(t, hash)) != nil {
		t.Error("a hash is listed")
	}
	if !slices.IsSortedFunc(report.Maps, func(a, b Map) int { return int(a.ID) - int(b.ID) }) {
		t.Error("not sorted by id")
	}
	got := in(report, idOf(t, ring))
	if got == nil {
		t.Fatal("the ring is not listed")
	}
	if got.Name != "all_ring" || got.Type != ebpf.RingBuf || got.Bytes != uint64(2*testenv.PageSize) || got.Positions.Backlog != uint64(testenv.PageSize)/2 || got.Positions.Fill != 0.25 || len(got.Notes) > 0 {
		t.Errorf("got %+v, %+v", got, got.Positions)
	}
	if diff := gocmp.Diff([]string{dir + "/a/ring", dir + "/b"}, got.Pins); diff != "" {
		t.Errorf("pins, -want +got:\n%s", diff)
	}
	got.Users = own(got.Users)
	if len(got.Users) != 1 || !got.Users[0].Self || got.Users[0].PID != os.Getpid() || !got.Users[0].Holds {
		t.Errorf("owners %+v", got.Users)
	}
	if len(got.Programs) != 1 || got.Programs[0].Name == "" || got.Programs[0].Type == 0 {
		t.Errorf("programs %+v", got.Programs)
	}

	// One returns the same description, and adds the notes of the report.
	closer, err := One(ring, Options{})
	if err != nil {
		t.Fatal(err)
	}
	got.Notes = report.Notes
	closer.Users = own(closer.Users)
	if diff := gocmp.Diff(got, closer); diff != "" {
		t.Errorf("-All +One:\n%s", diff)
	}
}

// in returns the map with the given id in a report, or nil.
func in(r *Report, id ebpf.MapID) *Map {
	if i := slices.IndexFunc(r.Maps, func(m Map) bool { return m.ID == id }); i >= 0 {
		return &r.Maps[i]
	}
	return nil
}

// own returns the users that are this process. Other processes that list maps, as this test does,
// hold each map for a moment.
func own(users []User) []User {
	return slices.DeleteFunc(users, func(u User) bool { return !u.Self })
}

func TestAllDescribesArenasWithoutTouchingThem(t *testing.T) {
	testenv.NoLeaks(t)
	m := arena(t, uint32(1<<32/uint64(testenv.PageSize)))
	for range 2 {
		d, err := One(m, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if d.Type != ebpf.Arena || d.Bytes != 1<<32 || d.MapExtra != 1<<44 || d.Positions != nil || d.Flags&mmapable == 0 {
			t.Errorf("got %+v", d)
		}
	}
}

func TestOneRefusesOtherMaps(t *testing.T) {
	_, err := One(hashMap(t, "test_hash"), Options{})
	const want = "describe map: wrong type: it is a map of type hash, wanted ringbuf or user_ringbuf or arena"
	if !errors.Is(err, pin.ErrWrongType) || err.Error() != want {
		t.Errorf("got %v", err)
	}
	ring := testenv.Ring(t, testenv.PageSize)
	ring.Close()
	if _, err := One(ring, Options{}); err == nil {
		t.Error("no error for a closed map")
	}
}

func TestWhatIsSkippedIsUnknown(t *testing.T) {
	d := one(t, testenv.Ring(t, testenv.PageSize))
	if d.Users != nil || d.Programs != nil || d.Pins != nil {
		t.Errorf("got %+v", d)
	}
	d, err := One(testenv.Ring(t, testenv.PageSize), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if d.Users == nil || d.Programs == nil || d.Pins == nil {
		t.Errorf("got %+v", d)
	}
}

func TestProgramsThatReachARingThroughAMapOfMaps(t *testing.T) {
	testenv.NoLeaks(t)
	ring := testenv.Ring(t, testenv.PageSize)
	for _, outer := range []*ebpf.MapSpec{
		{Name: "by_cpu", Type: ebpf.ArrayOfMaps, MaxEntries: 4, KeySize: 4, ValueSize: 4,
			InnerMap: &ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: testenv.PageSize}},
		{Name: "by_hash", Type: ebpf.HashOfMaps, MaxEntries: 4, KeySize: 12, ValueSize: 4,
			InnerMap: &ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: testenv.PageSize}},
	} {
		t.Run(outer.Name, func(t *testing.T) {
			m := testenv.Map(t, outer)
			defer m.Close()
			key := make([]byte, outer.KeySize)
			for key[0] = 1; key[0] < 3; key[0]++ { // the other slots of the array stay empty
				if err := m.Put(key, ring); err != nil {
					t.Fatal(err)
				}
			}
			p := refersTo(t, m)
			defer p.Close()
			d, err := One(ring, Options{SkipUsers: true, SkipPins: true})
			if err != nil {
				t.Fatal(err)
			}
			info, err := p.Info()
			if err != nil {
				t.Fatal(err)
			}
			id, _ := info.ID()
			want := []Program{{ID: id, Name: "refers", Type: ebpf.RawTracepoint, Via: idOf(t, m), Attached: []Attachment{}}}
			if diff := gocmp.Diff(want, d.Programs); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Maps that appear or vanish while All lists maps cause no error, whether they are listed or not.
func TestAllWhileMapsComeAndGo(t *testing.T) {
	testenv.NoLeaks(t)
	rounds := 30
	if testing.Short() {
		rounds = 5
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	made := 0
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: testenv.PageSize})
			if err != nil {
				t.Error(err)
				return
			}
			m.Close()
			made++
		}
	})
	for range rounds {
		report, err := All(Options{SkipUsers: true, SkipPrograms: true, SkipPins: true})
		if err != nil {
			t.Error(err)
			break
		}
		for _, note := range report.Notes {
			t.Error("note:", note)
		}
	}
	close(stop)
	wg.Wait()
	t.Logf("%d listings, %d maps came and went", rounds, made)
}

// A map that no other process holds is gone when the caller closes it.
func TestNothingIsKept(t *testing.T) {
	m := testenv.Ring(t, testenv.PageSize)
	id := idOf(t, m)
	if _, err := All(Options{}); err != nil {
		t.Fatal(err)
	}
	if _, err := One(m, Options{}); err != nil {
		t.Fatal(err)
	}
	m.Close()
	// Another process that lists maps can hold it for a moment.
	for deadline := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		m, err := ebpf.NewMapFromID(id)
		if errors.Is(err, fs.ErrNotExist) {
			return
		}
		m.Close()
		if time.Now().After(deadline) {
			t.Fatalf("the map lives on: %v", err)
		}
	}
}

func TestManyRings(t *testing.T) {
	testenv.NoLeaks(t)
	rings := 500
	if testing.Short() {
		rings = 50
	}
	for range rings {
		m := testenv.Ring(t, testenv.PageSize)
		defer m.Close()
	}
	for name, opts := range map[string]Options{
		"maps and positions": nothingElse,
		"with owners":        {SkipPrograms: true, SkipPins: true},
		"with programs":      {SkipUsers: true, SkipPins: true},
		"with pins":          {SkipUsers: true, SkipPrograms: true},
		"all":                {},
	} {
		began := time.Now()
		report, err := All(opts)
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Maps) < rings {
			t.Errorf("%d rings listed", len(report.Maps))
		}
		t.Logf("%d rings, %s: %v", len(report.Maps), name, time.Since(began).Round(100*time.Microsecond))
	}
}

func TestWithoutPrivilegesWhatIsMissingIsSaid(t *testing.T) {
	const eperm = "operation not permitted (needs CAP_SYS_ADMIN)"
	for role, want := range map[string]string{
		"list":           "list maps: operation not permitted (needs CAP_BPF and CAP_PERFMON)",
		"look up a name": `find map "name:unpriv": ` + eperm,
		"look up an id":  `find map "id:1": ` + eperm,
	} {
		if got := asNobody(t, role); got != want+"\n" {
			t.Errorf("%s: got\n%s\nwant\n%s", role, got, want)
		}
	}
}

// The capabilities that the exporter's systemd unit and DaemonSet grant suffice for rings, positions
// and owners, and each of them is necessary.
func TestLeastCapabilities(t *testing.T) {
	needIterators(t)
	m := testenv.Map(t, &ebpf.MapSpec{Name: "least_caps", Type: ebpf.RingBuf, MaxEntries: 2 * testenv.PageSize})
	produce(t, load(t, m), producer.Job{Op: producer.Output, Count: 10, Size: 24})
	consumer := start(t, "consume", m)
	const eperm = "list maps: operation not permitted (needs CAP_BPF and CAP_PERFMON)\n"
	for _, tt := range []struct {
		caps []uintptr
		want string
	}{
		{[]uintptr{unix.CAP_BPF, unix.CAP_PERFMON}, fmt.Sprintf("id:%d backlog 320, consumed by %d\n", idOf(t, m), consumer.pid)},
		{[]uintptr{unix.CAP_BPF}, eperm},
		{[]uintptr{unix.CAP_PERFMON}, eperm},
	} {
		if got := asNobodyWith(t, tt.caps, "list least_caps"); got != tt.want {
			t.Errorf("capabilities %v: got\n%s\nwant\n%s", tt.caps, got, tt.want)
		}
	}
}

func TestWithoutPrivilegesTheRestIsFound(t *testing.T) {
	m := testenv.Ring(t, testenv.PageSize)
	got := asNobody(t, "describe", m)
	if strings.Contains(got, "getting object info: operation not permitted") {
		testenv.SkipWithout(t, "unprivileged-obj-info", unix.EPERM)
	}
	for _, want := range []string{
		fmt.Sprintf("%d bytes, backlog 0", testenv.PageSize),
		"this process is an owner",
		"programs unknown: operation not permitted (needs CAP_SYS_ADMIN, or CAP_BPF and CAP_PERFMON)",
		"consumers and producers are inferred from /proc: load iterators over map users: operation not permitted (needs CAP_BPF and CAP_PERFMON)",
		" processes could not be read (needs CAP_SYS_PTRACE)",
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("%q is missing from\n%s", want, got)
		}
	}
}

// unprivileged returns what this process, which has no capabilities, finds. In the role "describe"
// it holds the map.
func unprivileged(role string, maps []*ebpf.Map) string {
	var err error
	switch role {
	case "list":
		_, err = All(Options{})
	case "list least_caps":
		var r *Report
		if r, err = All(Options{SkipPrograms: true, SkipPins: true}); err == nil {
			return leastCaps(r)
		}
	case "programs of least_caps":
		var r *Report
		if r, err = All(Options{SkipUsers: true, SkipPins: true}); err == nil {
			return programsOfLeastCaps(r)
		}
	case "look up a name":
		_, err = Lookup("name:unpriv")
	case "look up an id":
		_, err = Lookup("id:1")
	default:
		var d *Map
		if d, err = One(maps[0], Options{}); err == nil {
			text := fmt.Sprintf("%d bytes, backlog %d\n", d.Bytes, d.Positions.Backlog)
			if slices.ContainsFunc(d.Users, func(u User) bool { return u.Self && u.Holds }) {
				text += "this process is an owner\n"
			}
			return text + strings.Join(d.Notes, "\n")
		}
	}
	if !errors.Is(err, fs.ErrPermission) {
		return fmt.Sprintf("not a permission error: %v", err)
	}
	return err.Error()
}

// leastCaps returns what a report says about the test's ring.
func leastCaps(r *Report) string {
	for _, m := range r.Maps {
		if m.Name != "least_caps" {
			continue
		}
		text := fmt.Sprintf("id:%d backlog %d, consumed by", m.ID, m.Positions.Backlog)
		for _, u := range m.Users {
			if u.Consumes && u.Exact {
				text += fmt.Sprintf(" %d", u.PID)
			}
		}
		return text
	}
	return "not in the list"
}

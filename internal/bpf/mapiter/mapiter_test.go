package mapiter

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpftest/producer"
	"github.com/rbtool/rbtool/internal/mapflag"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) {
	if os.Getenv("RBTOOL_TEST_NOBODY") != "" {
		os.Exit(m.Run()) // this process is not privileged to change limits
	}
	os.Exit(testenv.Main(m))
}

func newTestScanner(t *testing.T) *Scanner {
	t.Helper()
	s, err := NewScanner()
	testenv.SkipIfNotSupported(t, "iter-bpf-map", err)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 { // Close is idempotent
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return s
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

func scan(t *testing.T, s *Scanner) *List {
	t.Helper()
	var list List
	if err := s.Scan(&list); err != nil {
		t.Fatal(err)
	}
	return &list
}

// find returns the entry of m. It fails the test unless Scan returns m exactly once.
func find(t *testing.T, s *Scanner, m *ebpf.Map) Entry {
	t.Helper()
	id := idOf(t, m)
	entries := slices.DeleteFunc(scan(t, s).Entries, func(e Entry) bool { return e.ID != id })
	if len(entries) != 1 {
		t.Fatalf("map %d is there %d times", id, len(entries))
	}
	return entries[0]
}

func load(t *testing.T, m *ebpf.Map) *producer.Producer {
	t.Helper()
	p, err := producer.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func produce(t *testing.T, p *producer.Producer, job producer.Job) {
	t.Helper()
	if _, err := p.Run(context.Background(), job); err != nil {
		t.Fatal(err)
	}
}

func pointer[T any](v T) *T { return &v }

func TestARing(t *testing.T) {
	testenv.NoLeaks(t)
	s := newTestScanner(t)
	m := testenv.Map(t, &ebpf.MapSpec{Name: "fifteen_letters", Type: ebpf.RingBuf, MaxEntries: 16384})
	p := load(t, m)
	defer p.Close()
	page := uint64(os.Getpagesize())
	want := Entry{
		ID: idOf(t, m), Type: ebpf.RingBuf, Name: "fifteen_letters", MaxEntries: 16384,
		Memory:    pointer(3*page + 16384),
		Writers:   pointer(uint64(0)),
		Positions: &Positions{Steady: true},
	}
	ignore := gocmp.Options{
		cmpopts.IgnoreFields(Entry{}, "Identity", "References"),
		cmpopts.IgnoreFields(Positions{}, "Pending"), // not all kernels have pending_pos
	}
	if diff := gocmp.Diff(want, find(t, s, m), ignore); diff != "" {
		t.Errorf("an empty ring, -want +got:\n%s", diff)
	}
	produce(t, p, producer.Job{Op: producer.Output, Count: 10, Size: 100})
	want.Producer = 10 * 112
	want.Header = pointer(ring.Header(100))
	if diff := gocmp.Diff(want, find(t, s, m), ignore); diff != "" {
		t.Errorf("with records, -want +got:\n%s", diff)
	}
	got, err := p.Query()
	if err != nil {
		t.Fatal(err)
	}
	if e := find(t, s, m); e.Consumer != got.ConsPos || e.Producer != got.ProdPos {
		t.Errorf("got %+v, the kernel says %+v", e.Positions, got)
	}
}

func TestABusyHead(t *testing.T) {
	testenv.NoLeaks(t)
	s, m := newTestScanner(t), testenv.Ring(t, testenv.PageSize)
	p := load(t, m)
	defer p.Close()
	held, err := p.Hold(1, 100)
	testenv.SkipIfNotSupported(t, "bpf-syscall-program", err)
	if err != nil {
		t.Fatal(err)
	}
	e := find(t, s, m)
	if e.Header == nil || !e.Header.Busy() || e.Header.Len() != 100 {
		t.Errorf("header %v", e.Header)
	}
	if err := held.Discard(); err != nil {
		t.Fatal(err)
	}
	if e = find(t, s, m); e.Header == nil || e.Header.Busy() || !e.Header.Discarded() {
		t.Errorf("header %v after the end", e.Header)
	}
	// The next reservation moves pending_pos, if the kernel has it.
	produce(t, p, producer.Job{Op: producer.Output, Count: 1, Size: 8})
	if e = find(t, s, m); e.Pending != nil && *e.Pending != 112 {
		t.Errorf("pending position %d, want 112", *e.Pending)
	}
}

func TestAUserRing(t *testing.T) {
	testenv.NoLeaks(t)
	s, m := newTestScanner(t), userRing(t)
	page := os.Getpagesize()
	pages, err := unix.Mmap(m.FD(), int64(page), 3*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(pages)
	for _, tt := range []struct {
		name     string
		producer uint64
		header   *ring.Header
	}{
		{"empty", 0, nil},
		{"a sample", 24, pointer(ring.Header(1<<31 | 16))},
		{"full", uint64(page), pointer(ring.Header(1<<31 | 16))},
		{"less than a header", 7, nil},
		{"more than fits", uint64(page) + 8, nil},
		{"behind the consumer", 1<<64 - 8, nil},
	} {
		binary.NativeEndian.PutUint64(pages, tt.producer)
		binary.NativeEndian.PutUint32(pages[page:], 1<<31|16)
		e := find(t, s, m)
		if e.Type != ebpf.UserRingbuf || e.Producer != tt.producer || e.Consumer != 0 || e.Pending != nil || e.Overwrite != nil {
			t.Errorf("%s: got %+v", tt.name, e.Positions)
		}
		if diff := gocmp.Diff(tt.header, e.Header); diff != "" {
			t.Errorf("%s: header, -want +got:\n%s", tt.name, diff)
		}
	}
}

func userRing(t *testing.T) *ebpf.Map {
	t.Helper()
	if err := features.HaveMapType(ebpf.UserRingbuf); err != nil {
		testenv.SkipIfNotSupported(t, "user_ringbuf", err)
		t.Fatal(err)
	}
	return testenv.Map(t, &ebpf.MapSpec{Type: ebpf.UserRingbuf, MaxEntries: testenv.PageSize})
}

// Scan works whatever a consumer writes into its page.
func TestHostilePositions(t *testing.T) {
	s, m := newTestScanner(t), testenv.Ring(t, testenv.PageSize)
	page0, err := unix.Mmap(m.FD(), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(page0)
	produce(t, load(t, m), producer.Job{Op: producer.Output, Count: 10, Size: 8})
	for _, pos := range []uint64{1, 7, 153, 160, 161, 1 << 31, 1<<63 - 1, 1 << 63, 1<<64 - 1, -uint64(testenv.PageSize)} {
		binary.NativeEndian.PutUint64(page0, pos)
		if e := find(t, s, m); e.Consumer != pos || e.Header != nil {
			t.Errorf("consumer_pos %d: %+v", pos, e.Positions)
		}
	}
}

// overwriteFlag is BPF_F_RB_OVERWRITE, include/uapi/linux/bpf.h (6.19).
const overwriteFlag = mapflag.RBOverwrite

func TestAnOverwritingRing(t *testing.T) {
	s := newTestScanner(t)
	m, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: testenv.PageSize, Flags: overwriteFlag})
	if errors.Is(err, unix.EINVAL) {
		testenv.SkipWithout(t, "ringbuf-overwrite", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	p := load(t, m)
	produce(t, p, producer.Job{Op: producer.Output, Count: 1000, Size: 8})
	got, err := p.Query()
	if err != nil {
		t.Fatal(err)
	}
	e := find(t, s, m)
	if e.Overwrite == nil || *e.Overwrite != got.OverwritePos || e.Producer != got.ProdPos || e.Header == nil || e.Header.Len() != 8 {
		t.Errorf("got %+v, the kernel says %+v", e.Positions, got)
	}
}

func TestAnArena(t *testing.T) {
	testenv.NoLeaks(t)
	s := newTestScanner(t)
	if err := features.HaveMapType(ebpf.Arena); err != nil {
		testenv.SkipIfNotSupported(t, "arena", err)
		t.Fatal(err)
	}
	const mmapable, pages = 1 << 10, 16
	newArena := func(extra uint64) *ebpf.Map {
		return testenv.Map(t, &ebpf.MapSpec{Type: ebpf.Arena, MaxEntries: pages, Flags: mmapable, MapExtra: extra})
	}
	fixed := find(t, s, newArena(1<<44))
	if fixed.Positions != nil || fixed.Arena == nil || fixed.UserBase != 1<<44 || fixed.MapExtra != 1<<44 || fixed.MaxEntries != pages {
		t.Errorf("got %+v, %+v", fixed, fixed.Arena)
	}
	// Without MapExtra, the first mapping fixes the arena's address. Only the iterator reports it.
	m := newArena(0)
	if e := find(t, s, m); e.UserBase != 0 {
		t.Errorf("base %#x before the first mapping", e.UserBase)
	}
	mem, err := unix.MmapPtr(m.FD(), 0, nil, pages*uintptr(os.Getpagesize()), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	*(*byte)(mem) = 1 // allocates a page
	if e := find(t, s, m); e.UserBase != uint64(uintptr(mem)) || e.MapExtra != 0 {
		t.Errorf("base %#x, want %#x", e.UserBase, mem)
	} else if e.Memory != nil && *e.Memory != uint64(os.Getpagesize()) {
		t.Errorf("memory %d, want one page", *e.Memory)
	}
	if err := unix.MunmapPtr(mem, pages*uintptr(os.Getpagesize())); err != nil {
		t.Error(err)
	}
}

// The kernel returns about 250 entries in a read; the next read continues the walk.
func TestManyRingsAreReportedOnceEach(t *testing.T) {
	testenv.NoLeaks(t)
	s := newTestScanner(t)
	rings := 1000
	if testing.Short() {
		rings = 600
	}
	identities := map[ebpf.MapID]Identity{}
	for range rings {
		m := testenv.Ring(t, testenv.PageSize)
		defer m.Close()
		identities[idOf(t, m)] = 0
	}
	for range 2 {
		entries := scan(t, s).Entries
		if !slices.IsSortedFunc(entries, func(a, b Entry) int { return int(a.ID) - int(b.ID) }) {
			t.Error("not by ascending id")
		}
		mine, seen := 0, map[Identity]bool{}
		for _, e := range entries {
			before, ok := identities[e.ID]
			if !ok {
				continue
			}
			mine++
			seen[e.Identity] = true
			if before != 0 && before != e.Identity {
				t.Errorf("the identity of map %d changed", e.ID)
			}
			identities[e.ID] = e.Identity
		}
		if mine != rings || len(seen) != rings {
			t.Errorf("%d entries with %d identities, want %d", mine, len(seen), rings)
		}
	}
}

func TestOtherMapsAreTold(t *testing.T) {
	testenv.NoLeaks(t)
	s := newTestScanner(t)
	inner := &ebpf.MapSpec{Type: ebpf.RingBuf, MaxEntries: testenv.PageSize}
	array := idOf(t, testenv.Map(t, &ebpf.MapSpec{Type: ebpf.ArrayOfMaps, MaxEntries: 2, KeySize: 4, ValueSize: 4, InnerMap: inner}))
	hash := idOf(t, testenv.Map(t, &ebpf.MapSpec{Type: ebpf.HashOfMaps, MaxEntries: 2, KeySize: 4, ValueSize: 4, InnerMap: inner}))
	// Other processes can have perf event arrays, which come and go.
	for range 3 {
		defer testenv.Map(t, &ebpf.MapSpec{Type: ebpf.PerfEventArray}).Close()
	}
	testenv.Map(t, &ebpf.MapSpec{Type: ebpf.Hash, MaxEntries: 1, KeySize: 4, ValueSize: 4})
	list := scan(t, s)
	if !slices.Contains(list.MapsOfMaps, array) || !slices.Contains(list.MapsOfMaps, hash) || list.PerfEventArrays < 3 {
		t.Errorf("got %v and %d perf event arrays", list.MapsOfMaps, list.PerfEventArrays)
	}
	if slices.ContainsFunc(list.Entries, func(e Entry) bool { return e.ID == array || e.ID == hash || e.Type == 0 }) {
		t.Errorf("got %+v", list.Entries)
	}
}

// Maps that appear or vanish during a scan cause no error, whether they are reported or not.
func TestScanWhileMapsComeAndGo(t *testing.T) {
	testenv.NoLeaks(t)
	s := newTestScanner(t)
	rounds := 2000
	if testing.Short() {
		rounds = 100
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
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
		}
	})
	var list List
	for range rounds {
		if err := s.Scan(&list); err != nil {
			t.Error(err)
			break
		}
		for _, e := range list.Entries {
			if e.Positions != nil && e.MaxEntries == 0 {
				t.Errorf("impossible: %+v", e)
			}
		}
	}
	close(stop)
	wg.Wait()
}

func TestMissingPrivilegesAreNamed(t *testing.T) {
	const variable = "RBTOOL_TEST_NOBODY"
	if os.Getenv(variable) == "" {
		newTestScanner(t)
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
		cmd.Env = append(os.Environ(), variable+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	_, err := NewScanner()
	if want := "load iterator over maps: operation not permitted (needs CAP_BPF and CAP_PERFMON)"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

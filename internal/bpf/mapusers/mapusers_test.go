package mapusers

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

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
	testenv.SkipIfNotSupported(t, "iter-task-vma", err)
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

// scanFor returns the uses of m by this process. It checks PID, Comm and Started, and clears them.
func scanFor(t *testing.T, s *Scanner, m ebpf.MapID) []Use {
	t.Helper()
	all, err := s.Scan()
	if err != nil {
		t.Fatal(err)
	}
	var uses []Use
	for _, u := range all {
		if u.Map != m {
			continue
		}
		if u.PID != os.Getpid() || u.Comm != comm(t) || u.Started <= 0 {
			t.Errorf("pid %d (%s) started at %v, want %d (%s)", u.PID, u.Comm, u.Started, os.Getpid(), comm(t))
		}
		uses = append(uses, Use{Offset: u.Offset, Size: u.Size, Writable: u.Writable})
	}
	return uses
}

func comm(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(text), "\n")
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

func mmap(t *testing.T, fd, offset, length, prot int) {
	t.Helper()
	mem, err := unix.Mmap(fd, int64(offset), length, prot, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(mem); err != nil {
			t.Error(err)
		}
	})
}

func TestDescriptorsAndMappingsAreReported(t *testing.T) {
	testenv.NoLeaks(t)
	s, ring := newTestScanner(t), testenv.Ring(t, 2*testenv.PageSize)
	page, id := os.Getpagesize(), idOf(t, ring)
	descriptor := Use{}
	consumer := Use{Size: uint64(page), Writable: true}
	data := Use{Offset: uint64(page), Size: 5 * uint64(page)}
	check := func(want ...Use) {
		t.Helper()
		got := scanFor(t, s, id)
		bySize := func(a, b Use) int { return int(a.Size) - int(b.Size) }
		if slices.SortFunc(got, bySize); !slices.Equal(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	check(descriptor)
	clone, err := ring.Clone()
	if err != nil {
		t.Fatal(err)
	}
	check(descriptor, descriptor)
	clone.Close()
	mmap(t, ring.FD(), 0, page, unix.PROT_READ|unix.PROT_WRITE)
	mmap(t, ring.FD(), page, 5*page, unix.PROT_READ)
	check(descriptor, consumer, data)
	ring.Close()
	check(consumer, data)
}

func TestOtherFilesAreNotReported(t *testing.T) {
	testenv.NoLeaks(t)
	s := newTestScanner(t)
	fd, err := unix.MemfdCreate("bpf-map", 0) // has the same name in /proc as a map's file
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, 4096); err != nil {
		t.Fatal(err)
	}
	before, err := s.Scan()
	if err != nil {
		t.Fatal(err)
	}
	mmap(t, fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE)
	after, err := s.Scan()
	if err != nil {
		t.Fatal(err)
	}
	others := func(u Use) bool { return u.PID != os.Getpid() }
	// There can be fewer: the garbage collector closes what earlier tests have left.
	if a, b := len(slices.DeleteFunc(before, others)), len(slices.DeleteFunc(after, others)); b > a {
		t.Errorf("uses went from %d to %d", a, b)
	}
}

// The kernel returns about 500 uses in a read; the next read continues the walk.
func TestManyUsesAreReportedOnceEach(t *testing.T) {
	testenv.NoLeaks(t)
	s, ring := newTestScanner(t), testenv.Ring(t, testenv.PageSize)
	page, id := os.Getpagesize(), idOf(t, ring)
	const descriptors, mappings = 1500, 1200
	for range descriptors - 1 {
		clone, err := ring.Clone()
		if err != nil {
			t.Fatal(err)
		}
		defer clone.Close()
	}
	for i := range mappings {
		prot := unix.PROT_READ
		if i%2 == 0 { // otherwise the kernel would merge adjacent mappings
			prot |= unix.PROT_WRITE
		}
		mmap(t, ring.FD(), 0, page, prot)
	}
	d, m := 0, 0
	for _, u := range scanFor(t, s, id) {
		if u.Size == 0 {
			d++
		} else {
			m++
		}
	}
	if d != descriptors || m != mappings {
		t.Errorf("%d descriptors and %d mappings, want %d and %d", d, m, descriptors, mappings)
	}
}

// Pids are those of the reader's pid namespace: process 1 of a new namespace finds
// itself as 1, and does not find processes outside the namespace.
func TestPIDsAreOfTheReadersNamespace(t *testing.T) {
	const variable = "RBTOOL_TEST_OUTER_MAP"
	if outer := os.Getenv(variable); outer != "" {
		if os.Getpid() != 1 {
			t.Fatalf("pid %d", os.Getpid())
		}
		s, ring := newTestScanner(t), testenv.Ring(t, testenv.PageSize)
		if uses := scanFor(t, s, idOf(t, ring)); !slices.Equal(uses, []Use{{}}) {
			t.Errorf("uses of the own ring: %+v", uses)
		}
		all, err := s.Scan()
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range all {
			if fmt.Sprint(u.Map) == outer {
				t.Errorf("outside the namespace: %+v", u)
			}
		}
		return
	}
	s, ring := newTestScanner(t), testenv.Ring(t, testenv.PageSize)
	id := idOf(t, ring)
	if len(scanFor(t, s, id)) != 1 {
		t.Error("the own ring is not reported")
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), fmt.Sprint(variable, "=", id))
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
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
	if want := "load iterators over map users: operation not permitted (needs CAP_BPF and CAP_PERFMON)"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

package inspect

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/testenv"
)

// lookers are processes that cannot see all users of a map, each for another reason.
var lookers = []struct {
	how  string
	attr syscall.SysProcAttr
}{
	{"from another pid namespace", syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}},
	{"with CAP_BPF and CAP_PERFMON", asUser(unix.CAP_BPF, unix.CAP_PERFMON)},
	{"from another pid namespace with CAP_BPF and CAP_PERFMON", syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID, Credential: asUser().Credential, AmbientCaps: []uintptr{unix.CAP_BPF, unix.CAP_PERFMON},
	}},
}

func asUser(caps ...uintptr) syscall.SysProcAttr {
	return syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: caps}
}

// countOthers runs a process that counts the other consumers and producers of the maps, and
// returns its answer: for each map the number that it sees, and the number of unseen writable
// mappings.
func countOthers(t *testing.T, attr syscall.SysProcAttr, role string, maps ...*ebpf.Map) string {
	t.Helper()
	cmd := command(t, "count: "+role, maps)
	cmd.SysProcAttr = &attr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// count runs in the process that countOthers starts.
func count(role string, maps []*ebpf.Map) (string, error) {
	if role == "as a consumer" {
		for _, m := range maps {
			if _, err := unix.Mmap(m.FD(), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
				return "", err
			}
		}
	}
	usage, err := Users(maps...)
	if err != nil {
		return "", err
	}
	var answers []string
	for _, m := range maps {
		info, err := m.Info()
		if err != nil {
			return "", err
		}
		id, _ := info.ID()
		seen := 0
		for _, u := range usage.Users[id] {
			if !u.Self && (u.Consumes || u.Produces) {
				seen++
			}
		}
		unseen, err := usage.Unseen(id)
		if err != nil {
			return "", err
		}
		answers = append(answers, fmt.Sprintf("%d seen %d unseen", seen, unseen))
	}
	return strings.Join(answers, ", "), nil
}

func TestConsumersAndProducersThatCannotBeSeenAreCounted(t *testing.T) {
	testenv.NoLeaks(t)
	needIterators(t)
	none, consumed, watched := testenv.Ring(t, testenv.PageSize), testenv.Ring(t, testenv.PageSize), testenv.Ring(t, testenv.PageSize)
	produced := userRing(t, testenv.PageSize)
	all := []*ebpf.Map{none, consumed, watched, produced}
	consumer := start(t, "consume", consumed)
	start(t, "keep the mapping", consumed)
	start(t, "observe", watched)
	start(t, "hold", watched)
	start(t, "produce", produced)
	for _, l := range lookers {
		want := "0 seen 0 unseen, 0 seen 2 unseen, 0 seen 0 unseen, 0 seen 1 unseen"
		if l.attr.Cloneflags == 0 {
			want = "0 seen 0 unseen, 2 seen 0 unseen, 0 seen 0 unseen, 1 seen 0 unseen"
		}
		if got := countOthers(t, l.attr, "", all...); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", l.how, got, want)
		}
		if got, want := countOthers(t, l.attr, "as a consumer", none), "0 seen 0 unseen"; got != want {
			t.Errorf("%s, which consumes the ring itself: %s, want %s", l.how, got, want)
		}
	}
	consumer.end()
	if got, want := countOthers(t, lookers[0].attr, "", consumed), "0 seen 1 unseen"; got != want {
		t.Errorf("when a consumer has ended: %s, want %s", got, want)
	}
}

// If the kernel's count cannot be read, the number of hidden users is unknown, not 0.
func TestWithoutTheCountUnseenProcessesAreUnknown(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	const want = "processes could not be read (needs CAP_SYS_PTRACE)"
	if got := countOthers(t, asUser(unix.CAP_BPF), "", m); !strings.HasSuffix(got, want) {
		t.Errorf("as a user with CAP_BPF: %s, want %s", got, want)
	}
}

func TestProcessesThatProcHidesAreUnknown(t *testing.T) {
	testenv.NoLeaks(t)
	m := testenv.Ring(t, testenv.PageSize)
	runtime.LockOSThread() // never unlocked: the thread ends with the test's goroutine
	for _, err := range []error{
		unix.Unshare(unix.CLONE_NEWNS),
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("proc", "/proc", "proc", 0, "hidepid=2"),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if got := countOthers(t, asUser(unix.CAP_BPF), "", m); !strings.Contains(got, errHidden.Error()) {
		t.Errorf("with CAP_BPF: %s, want %v", got, errHidden)
	}
	if got, want := countOthers(t, syscall.SysProcAttr{}, "", m), "0 seen 0 unseen"; got != want {
		t.Errorf("as root, from whom nothing is hidden: %s, want %s", got, want)
	}
}

func TestAMappingIsUnseenUnlessAVisibleProcessHasIt(t *testing.T) {
	shapes := []shape{{id: 1}, {id: 2}, {id: 3}}
	writers := map[ebpf.MapID]int{1: 1, 2: 3, 4: 1}
	u := Usage{seen: map[ebpf.MapID]int{1: 1, 2: 1, 3: 1}, blind: errOutside}
	u.compare(shapes, writers)
	for id, want := range map[ebpf.MapID]int{1: 0, 2: 2, 3: 0, 4: 0} {
		if n, err := u.Unseen(id); n != want || err != nil {
			t.Errorf("map %d: %d unseen, %v; want %d", id, n, err, want)
		}
	}
}

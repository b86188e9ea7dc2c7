package infer_test

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/decode/infer"
	"github.com/rbtool/rbtool/internal/testenv"
)

func TestMain(m *testing.M) {
	if testenv.Role() != "" {
		os.Exit(testenv.Play(own))
	}
	os.Exit(testenv.Main(m))
}

// embedded makes the executable of the tests that of a ring's owner, as bpf2go does.
//
//go:embed testdata/corpus/maps_value_type_bpfel.o
var embedded []byte

// own is what another process does: it holds a ring and has the object in its executable. In the role "asks"
// it says what it finds.
func own(role string, ring *ebpf.Map) error {
	if len(embedded) == 0 {
		return os.ErrNotExist
	}
	if role == "asks" {
		found, err := infer.Of(ring, infer.Options{})
		if err != nil {
			return err
		}
		fmt.Println(found.Why)
		fmt.Println(strings.Join(found.Notes, "; "))
	}
	return testenv.Ready()
}

// inferred returns what Of finds if the machine is not too busy to search executables, and to read maps of maps where each
// lookup waits for a grace period.
func inferred(t *testing.T, ring *ebpf.Map) *infer.Result {
	t.Helper()
	for range busyTries {
		found, err := infer.Of(ring, infer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if notes := strings.Join(found.Notes, "; "); !strings.Contains(notes, "not searched to the end") && !strings.Contains(notes, "maps of maps not read") {
			return found
		}
	}
	t.Fatal("the search never ends in time")
	return nil
}

// busyTries is how often a search may be cut short because the machine is busy.
const busyTries = 20

// The ring's definition never reaches the kernel: it is in the object in the owner's executable.
func TestTheOwnersObjectDefinesTheRing(t *testing.T) {
	run := readCase(t, "maps_value_type").load(t, loaders[0], true)
	defer run.close()
	testenv.Start(t, "own", run.ring).Expect(t, "ready")
	found := inferred(t, run.ring)
	t.Log(strings.Join(found.Explain(), "\n"))
	if found.Certainty != infer.Certain || !strings.Contains(found.Why, "event (certain: the definition of the ring says so in ") {
		t.Errorf("%s: %s", found.Certainty, found.Why)
	}
}

// An object with a ring and a program of the same names, but other source lines, is not the program's.
func TestAnotherObjectOfTheOwner(t *testing.T) {
	run := readCase(t, "hash_of_rings").load(t, loaders[0], true)
	defer run.close()
	testenv.Start(t, "own", run.ring).Expect(t, "ready")
	found := inferred(t, run.ring)
	if found.Certainty == infer.Certain || strings.Contains(found.Why, "object") {
		t.Errorf("%s: %s", found.Certainty, found.Why)
	}
}

// With CAP_BPF and CAP_PERFMON programs are read from the kernel's memory. Without, the executable of an owner of
// the same user still tells the definition of the ring. Notes say what the rest takes.
func TestWithoutCapSysAdmin(t *testing.T) {
	const nobody = 65534
	as := func(caps ...uintptr) syscall.SysProcAttr {
		return syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, AmbientCaps: caps}
	}
	ptrace := fmt.Sprintf("executable of process %d not searched: it takes CAP_SYS_PTRACE", os.Getpid())
	tests := []struct {
		rule, program string
		caps          []uintptr
		why           string
		notes         []string
	}{
		{"both, a program", "local_struct", []uintptr{unix.CAP_BPF, unix.CAP_PERFMON}, "record (likely: the layout is what ", []string{ptrace}},
		{"both, a program and a map of maps", "array_of_rings", []uintptr{unix.CAP_BPF, unix.CAP_PERFMON}, "event (certain: ", nil},
		{"both, a program's object", "maps_value_type", []uintptr{unix.CAP_BPF, unix.CAP_PERFMON},
			"event (certain: the definition of the ring says so in the object in ", []string{ptrace}},
		{"none", "maps_value_type", nil, "event (likely: the definition of the ring says so in the object in ", []string{
			"programs that use the ring not read: it takes CAP_SYS_ADMIN, or CAP_BPF and CAP_PERFMON"}},
	}
	for _, tt := range tests {
		t.Run(tt.rule, func(t *testing.T) {
			run := readCase(t, tt.program).load(t, loaders[0], true)
			defer run.close()
			said := testenv.StartWith(t, as(), "own", run.ring).Line(t)
			if strings.Contains(said, unix.EPERM.Error()) {
				testenv.SkipWithout(t, "unprivileged-obj-info", unix.EPERM)
			}
			if said != "ready" {
				t.Fatal(said)
			}
			why, notes := asks(t, as(tt.caps...), run.ring)
			if !strings.HasPrefix(why, tt.why) {
				t.Error(why)
			}
			for _, want := range tt.notes {
				if !strings.Contains(notes, want) {
					t.Errorf("%s, want %s", notes, want)
				}
			}
		})
	}
}

// The elements of a hash of maps that is not preallocated can be found with CAP_SYS_ADMIN only.
func TestMapsOfMapsThatAreNotRead(t *testing.T) {
	spec := &ebpf.MapSpec{Name: "inner", Type: ebpf.RingBuf, MaxEntries: testenv.PageSize}
	ring := testenv.Map(t, spec)
	for range 5 {
		outer := testenv.Map(t, &ebpf.MapSpec{
			Name: "rings", Type: ebpf.HashOfMaps, KeySize: 4, MaxEntries: 4, InnerMap: spec, Flags: unix.BPF_F_NO_PREALLOC,
			Contents: []ebpf.MapKV{{Key: uint32(7), Value: ring}},
		})
		uses(t, outer)
	}
	nobody := syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: 65534, Gid: 65534}, AmbientCaps: []uintptr{unix.CAP_BPF, unix.CAP_PERFMON},
	}
	unread := regexp.MustCompile(`^maps of maps not read, which can hold the ring: (rings \(\d+\), ){3}\d+ more: .*CAP_SYS_ADMIN`)
	if why, _ := asks(t, nobody, ring); strings.Contains(why, unix.EPERM.Error()) {
		testenv.SkipWithout(t, "unprivileged-obj-info", unix.EPERM)
	} else if !unread.MatchString(why) {
		t.Errorf("without CAP_SYS_ADMIN: %s", why)
	}
	if why := inferred(t, ring).Why; !strings.HasPrefix(why, "5 programs refer to the ring") {
		t.Errorf("with CAP_SYS_ADMIN: %s", why)
	}
}

// uses loads a program that refers to the map.
func uses(tb testing.TB, m *ebpf.Map) {
	tb.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "crowd", Type: ebpf.SocketFilter, License: "MIT",
		Instructions: asm.Instructions{asm.LoadMapPtr(asm.R1, m.FD()), asm.Mov.Imm(asm.R0, 0), asm.Return()},
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { p.Close() })
}

// asks returns what a process with the attributes finds.
func asks(t *testing.T, attr syscall.SysProcAttr, ring *ebpf.Map) (why, notes string) {
	t.Helper()
	for range busyTries {
		p := testenv.StartWith(t, attr, "asks", ring)
		why, notes = p.Line(t), p.Line(t)
		p.Kill()
		if !strings.Contains(notes, "not searched to the end") {
			return why, notes
		}
	}
	t.Fatal("the search of the executable never ends in time")
	return "", ""
}

// specOf returns the BTF of the object of a case.
func specOf(t *testing.T, name string) *btf.Spec {
	t.Helper()
	spec, err := btf.LoadSpec(filepath.Join(corpus, name+"_bpfel.o"))
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

func TestGivenBTFDefinesTheRing(t *testing.T) {
	given := infer.Options{Given: []infer.Source{{Spec: specOf(t, "maps_value_type"), Name: "it.o"}}}
	run := readCase(t, "maps_value_type").load(t, loaders[0], true)
	defer run.close()
	found, err := infer.Of(run.ring, given)
	if err != nil {
		t.Fatal(err)
	}
	if want := "event (certain: the definition of the ring says so in it.o)"; found.Why != want {
		t.Errorf("%s, want %s", found.Why, want)
	}
	alone := testenv.Map(t, &ebpf.MapSpec{Name: ringName, Type: ebpf.RingBuf, MaxEntries: testenv.PageSize})
	if found, err = infer.Of(alone, given); err != nil {
		t.Fatal(err)
	}
	if want := "event (likely: the definition of the ring says so in it.o)"; found.Why != want {
		t.Errorf("of a ring without programs: %s, want %s", found.Why, want)
	}
}

func TestSourcesOfARing(t *testing.T) {
	run := readCase(t, "maps_value_type").load(t, loaders[0], true)
	defer run.close()
	testenv.Start(t, "own", run.ring).Expect(t, "ready")
	sources, notes, err := infer.Sources(run.ring)
	if err != nil || len(notes) > 0 {
		t.Fatalf("%v, %q", err, notes)
	}
	var names []string
	for _, s := range sources {
		names = append(names, s.Name)
		if s.Spec == nil {
			t.Errorf("%s: no BTF", s.Name)
		}
	}
	if last := len(names) - 1; last < 2 || names[0] != "the program's BTF" ||
		!strings.HasPrefix(names[last-1], "the object in ") || names[last] != "the DWARF of "+names[last-1] {
		t.Errorf("%q", names)
	}
}

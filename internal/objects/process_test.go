package objects

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/elffile"
	"github.com/rbtool/rbtool/internal/proc"
	"github.com/rbtool/rbtool/internal/testenv"
)

// embedded makes the executable of the tests that of an owner, as Go's embed and bpf2go do.
//
//go:embed testdata/owned_bpfel.o
var embedded []byte

func TestMain(m *testing.M) {
	if testenv.Role() != "" {
		os.Exit(testenv.Play(act))
	}
	os.Exit(testenv.Main(m))
}

// act is what another process does: it has the object in its executable, and with the role "maps" maps the
// file that is its descriptor 4.
func act(role string, _ *ebpf.Map) error {
	if len(embedded) == 0 {
		return os.ErrNotExist
	}
	if role == "maps" {
		if _, err := unix.Mmap(4, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE); err != nil {
			return err
		}
	}
	return testenv.Ready()
}

var ownedNames = Names{Ring: "undeclared", Programs: []string{"produces"}, Maps: []string{"owned.rodata"}}

func TestTheExecutableOfAProcess(t *testing.T) {
	p := testenv.Start(t, "waits", testenv.Ring(t, testenv.PageSize))
	p.Expect(t, "ready")
	found, notes := OfProcesses(t.Context(), ownedNames, p.Process.Pid)
	if len(found) != 1 || len(notes) > 0 {
		t.Fatalf("%v, %q", found, notes)
	}
	o := found[0]
	if f := o.Fits(ownedNames); !f.Ring || f.Programs != 1 || f.Exact() {
		t.Errorf("%+v by its names, which are no proof", f)
	}
	lines := ownedNames
	lines.Lines = []string{"\trecord->time = bpf_ktime_get_ns();"}
	if f := o.Fits(lines); !f.Exact() {
		t.Errorf("%+v by a source line, want an exact fit", f)
	}
	if lines.Lines = append(lines.Lines, "\trecord->time = 0;"); o.Fits(lines).Same() {
		t.Error("the object is that of a program with another source line")
	}
	if o.Offset == 0 || !strings.Contains(o.String(), ".test (process") {
		t.Errorf("%v", o)
	}
	p.End()
	if def, ok := o.Map("declared"); !ok || def.Value.TypeName() != "event" {
		t.Errorf("after the end of the process: %+v, %t", def, ok)
	}
}

func TestOtherObjectsAreNotKept(t *testing.T) {
	p := testenv.Start(t, "waits", testenv.Ring(t, testenv.PageSize))
	p.Expect(t, "ready")
	found, notes := OfProcesses(t.Context(), Names{Ring: "declare", Programs: []string{"produce"}}, p.Process.Pid)
	if len(found) != 0 || len(notes) != 0 {
		t.Errorf("%v, %q", found, notes)
	}
}

func TestTheLibrariesOfAProcess(t *testing.T) {
	object := strings.ReplaceAll(string(owned(t)), "undeclared", "elsewheres")
	library := filepath.Join(t.TempDir(), "lib.so")
	if err := os.WriteFile(library, executable(t, []byte(object)), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(library)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	p := testenv.Start(t, "maps", testenv.Ring(t, testenv.PageSize), file)
	p.Expect(t, "ready")
	found, notes := OfProcesses(t.Context(), Names{Ring: "elsewheres", Programs: []string{"produces"}}, p.Process.Pid)
	if len(found) != 1 || !strings.HasPrefix(found[0].File, library) || len(notes) > 0 {
		t.Fatalf("%v, %q", found, notes)
	}
}

// Without the links in map_files, the library is found below the root of the process.
func TestAPathBelowTheRoot(t *testing.T) {
	root := t.TempDir()
	outside := filepath.Join(t.TempDir(), "outside")
	for path, content := range map[string][]byte{filepath.Join(root, "in"): owned(t), outside: owned(t)} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{"good": "/in", "bad": outside} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]int{"/in": 1, "/good": 1, "/bad": 0, "/../../in": 1} {
		s := searched{ctx: t.Context(), names: ownedNames, known: map[file]bool{}, data: maxData}
		if err := s.below(root, path, unix.RESOLVE_IN_ROOT, "x"); (err == nil) != (want == 1) || len(s.found) != want {
			t.Errorf("%s: %v, %v; want %d objects", path, err, s.found, want)
		}
	}
}

// A loader that reads its object from a file often has its path as an argument.
func TestAnObjectFileOnTheCommandLine(t *testing.T) {
	dir := t.TempDir()
	object := strings.ReplaceAll(string(owned(t)), "undeclared", "elsewheres")
	outside := filepath.Join(t.TempDir(), "outside.o")
	for _, path := range []string{filepath.Join(dir, "prog.bpf.o"), outside} {
		if err := os.WriteFile(path, []byte(object), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link.o")); err != nil {
		t.Fatal(err)
	}
	shell, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	for arg, want := range map[string]string{
		"prog.bpf.o":          "prog.bpf.o",
		"--object=prog.bpf.o": "prog.bpf.o",
		outside:               outside,
		"link.o":              "", // it leads out of the working directory
		"../outside.o":        "",
		"none.o":              "",
		"prog.bpf":            "",
	} {
		cmd := exec.Command(shell, "-c", "echo; read x", "sh", arg)
		cmd.Dir = dir
		in := testenv.Running(t, cmd)
		found, notes := OfProcesses(t.Context(), Names{Ring: "elsewheres", Programs: []string{"produces"}}, cmd.Process.Pid)
		in.Close()
		cmd.Wait()
		if (len(found) == 1) != (want != "") || len(found) == 1 && !strings.HasPrefix(found[0].File, want+" (process ") || len(notes) > 0 {
			t.Errorf("%s: %v, %q; want %q", arg, found, notes, want)
		}
	}
}

// compiled returns the path of an executable with DWARF.
func compiled(t *testing.T, source string) string {
	t.Helper()
	cc, err := exec.LookPath("gcc")
	if err != nil {
		testenv.SkipWithout(t, "gcc", err)
	}
	path := filepath.Join(t.TempDir(), "owner")
	build := exec.Command(cc, "-g", "-x", "c", "-", "-o", path)
	build.Stdin = strings.NewReader(source)
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	return path
}

func TestTypesInTheDWARFOfAnExecutable(t *testing.T) {
	path := compiled(t, `#include <unistd.h>
		struct event { int pid; char comm[16]; };
		int main(void) { struct event e; write(1, "\n", 1); return read(0, &e, sizeof(e)); }`)
	cmd := exec.Command(path)
	in := testenv.Running(t, cmd)
	defer cmd.Wait()
	defer in.Close()
	found := DebugOf(t.Context(), DebugOptions{Limit: 1 << 20, Language: NotGo}, cmd.Process.Pid, cmd.Process.Pid)
	if len(found) != 1 || found[0].In != fmt.Sprintf("the DWARF of %s (process %d)", path, cmd.Process.Pid) {
		t.Fatalf("%+v", found)
	}
	if found := DebugOf(t.Context(), DebugOptions{Limit: 10}, cmd.Process.Pid); found != nil {
		t.Errorf("more than 10 bytes: %+v", found)
	}
	if types := found[0].Structs(20); len(types) != 1 || types[0].TypeName() != "event" {
		t.Errorf("%v", types)
	}
}

func TestDWARFByLanguage(t *testing.T) {
	path := compiled(t, `__asm__(".section .gopclntab,\"a\"\n.byte 0\n.text"); int main(void) { return 0; }`)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for language, want := range map[Language]bool{Any: true, Go: true, NotGo: false} {
		s := searched{known: map[file]bool{}}
		if d, ok := s.readDebug(link, DebugOptions{Limit: 1 << 20, Language: language}); ok != want {
			t.Errorf("language %v: %v", language, d)
		}
	}
}

// Without DWARF that is small enough, what the runtime of an executable in Go knows is read.
func TestTypesOfGo(t *testing.T) {
	p := testenv.Start(t, "waits", testenv.Ring(t, testenv.PageSize))
	p.Expect(t, "ready")
	found := DebugOf(t.Context(), DebugOptions{Limit: 10, Language: Go}, p.Process.Pid)
	if len(found) != 1 || !strings.HasPrefix(found[0].In, "the Go types of /") || !strings.HasSuffix(found[0].In, fmt.Sprintf(" (process %d)", p.Process.Pid)) {
		t.Fatalf("%+v", found)
	}
	if types := found[0].Named("objects.file"); len(types) != 1 { // a key of a map
		t.Errorf("%v", types)
	}
	if found := DebugOf(t.Context(), DebugOptions{Limit: 10, Language: NotGo}, p.Process.Pid); found != nil {
		t.Errorf("not in Go: %+v", found)
	}
}

func TestASearchIsBoundedByProcesses(t *testing.T) {
	p := testenv.Start(t, "waits", testenv.Ring(t, testenv.PageSize))
	p.Expect(t, "ready")
	pids := slices.Repeat([]int{os.Getpid()}, maxProcesses)
	found, notes := OfProcesses(t.Context(), ownedNames, append(pids, p.Process.Pid)...)
	if len(found) != 0 || len(notes) != 1 || !strings.Contains(notes[0], "only 32 of the ring's 33 owners") {
		t.Errorf("%v, %q", found, notes)
	}
	if found, _ := OfProcesses(t.Context(), ownedNames, append(pids[1:], p.Process.Pid)...); len(found) != 1 {
		t.Errorf("%v", found)
	}
}

func TestASearchIsBoundedByBytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, executable(t, owned(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := searched{ctx: t.Context(), names: ownedNames, known: map[file]bool{}, data: 100}
	if err := s.file(path, "x"); !errors.Is(err, elffile.ErrTooLarge) || s.found != nil {
		t.Errorf("%v, %v; want ErrTooLarge", err, s.found)
	}
}

// A file system whose owner does not answer takes no longer than the bound.
func TestASearchThatDoesNotEnd(t *testing.T) {
	stuck := make(chan struct{})
	defer close(stuck)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := bounded(ctx, func(*searched) { <-stuck })
	if len(s.notes) != 1 || !strings.Contains(s.notes[0], errTime.Error()) {
		t.Errorf("%q", s.notes)
	}
}

// A process whose files another user may not read is named, with the capability that it takes.
func TestWithoutCapabilities(t *testing.T) {
	p := testenv.Start(t, "waits", testenv.Ring(t, testenv.PageSize))
	p.Expect(t, "ready")
	done := make(chan []string)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread and its user end with the goroutine
		s := searched{ctx: t.Context(), names: ownedNames, known: map[file]bool{}, data: maxData}
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), 65534, ^uintptr(0)); errno != 0 {
			s.note("%v", errno)
		}
		s.executable(proc.Dir(uint32(p.Process.Pid)), p.Process.Pid)
		done <- s.notes
	}()
	if notes := <-done; len(notes) != 1 || !strings.Contains(notes[0], "CAP_SYS_PTRACE") {
		t.Errorf("%q", notes)
	}
}

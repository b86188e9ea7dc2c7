package symbol

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/elffile"
	"github.com/rbtool/rbtool/internal/proc"
	"github.com/rbtool/rbtool/internal/testenv"
)

// taskSelf returns the Task of this process, as events have it.
func taskSelf(t *testing.T) Task {
	t.Helper()
	stat, err := proc.ReadStat("/proc/self")
	if err != nil {
		t.Fatal(err)
	}
	return Task{PID: uint32(os.Getpid()), PPID: uint32(os.Getppid()), Start: stat.Start * proc.ClockTick, Comm: stat.Comm}
}

// mapped maps the code of a file as a program loader does. It returns the address of the mapping.
func mapped(t *testing.T, path string) (at uint64, unmap func()) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := unix.Mmap(int(f.Fd()), testenv.CodeOffset, testenv.CodeSize, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range readMappings("/proc/self") {
		if m.path == path {
			at = m.start
		}
	}
	return at, func() { unix.Munmap(m) }
}

// wantName checks the name of an address in a process.
func wantName(t *testing.T, f *Files, task Task, ip uint64, want string) {
	t.Helper()
	if got, _ := f.NameAt(task, ip, true); got != want {
		t.Errorf("%#x is %q, want %q", ip, got, want)
	}
}

// A file in which the kernel finds no build id is found by the mapping at the address, even after the
// process has ended or unmapped the file. An address in a different process is not named by this
// mapping.
func TestAddressesAreNamedByMappings(t *testing.T) {
	if !seesHost() {
		t.Skip("not in the initial pid namespace")
	}
	path := filepath.Join(t.TempDir(), "file")
	testenv.WriteELF(t, path, []byte{1}, "first", "second")
	at, unmap := mapped(t, path)
	task := taskSelf(t)
	living, seen, told := NewFiles(), NewFiles(), NewFiles()
	wantName(t, living, task, at+0x85, "second+0x5 (file)")
	seen.AddProcesses()
	told.Started(task, path)
	child := task
	child.PID, child.PPID, child.Start = 1<<30, task.PID, task.Start+5*proc.ClockTick
	told.Forked(child)
	unmap()
	for _, f := range []*Files{seen, told} {
		wantName(t, f, task, at+0x85, "second+0x5 (file)")
		wantName(t, f, task, at+0x185, "file+0x10185")
	}
	wantName(t, told, child, at+0x5, "first+0x5 (file)")
	unknown := fmt.Sprintf("%#x (in no known file)", at+0x85)
	wantName(t, living, task, at+0x85, unknown)
	later := task
	later.Start += 1000 * proc.ClockTick
	wantName(t, seen, later, at+0x85, unknown)

	// If another file takes the path, it is not used for the mapping.
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	testenv.WriteELF(t, path, []byte{1}, "another", "program")
	fresh := NewFiles()
	fresh.processes = seen.processes
	wantName(t, fresh, task, at+0x85, "file+0x10085")

	seen.Ended(task.PID)
	wantName(t, seen, task, at+0x85, unknown)
}

// If a program has a fixed load address, it is found by its path, and the name says that this is
// uncertain.
func TestAddressesOfProgramsThatWereNeverSeen(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "program")
	testenv.WriteELF(t, path, []byte{1}, "first")
	f := NewFiles()
	gone := Task{PID: 1 << 30, PPID: uint32(os.Getpid()), Start: 5, Comm: "program"}
	f.Started(gone, path)
	wantName(t, f, gone, testenv.CodeAddr+5, "first+0x5 (program, by its path)")
	wantName(t, f, gone, 5, "0x5 (in no known file)")

	t.Chdir(dir)
	f.Started(gone, "./program") // this path is relative to the parent's working directory
	wantName(t, f, gone, testenv.CodeAddr+5, "first+0x5 (program, by its path)")
}

// A file that was seen while a process had it mapped is found by build id after the process has ended.
// uninstalled returns Files that do not search the thousands of files in the usual directories.
func uninstalled() *Files {
	f := NewFiles()
	f.installed = true
	return f
}

func TestFilesOfEndedProcessesAreRemembered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	testenv.WriteELF(t, path, []byte{7, 7, 7}, "first")
	id := append([]byte{7, 7, 7}, make([]byte, elffile.BuildIDSize-3)...)
	_, unmap := mapped(t, path)
	f := uninstalled()
	f.AddProcesses()
	unmap()
	if got, found := f.Name(id, testenv.CodeOffset+5, true); got != "first+0x5 (file)" || !found {
		t.Errorf("%q (%v)", got, found)
	}
	// A file that was not found is searched again.
	other := uninstalled()
	if _, found := other.Name(id, testenv.CodeOffset+5, true); found {
		t.Error("a file that was never seen is found")
	}
	other.Add(path)
	if got, found := other.Name(id, testenv.CodeOffset+5, true); got != "first+0x5 (file)" || !found {
		t.Errorf("%q (%v)", got, found)
	}
}

// A program in one of the usual directories is found even if no process has it mapped.
func TestInstalledProgramsAreFound(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	testenv.WriteELF(t, filepath.Join(dir, "installed"), []byte{8, 8, 8}, "first")
	id := append([]byte{8, 8, 8}, make([]byte, elffile.BuildIDSize-3)...)
	if got, found := NewFiles().Name(id, testenv.CodeOffset+5, true); got != "first+0x5 (installed)" || !found {
		t.Errorf("%q (%v)", got, found)
	}
}

// Reading a large sparse file takes no more memory than reading a small file.
func TestMemoryForFilesOfOthersIsBounded(t *testing.T) {
	dir := t.TempDir()
	f := NewFiles()
	got := testenv.Allocated(func() {
		for i := range 4 {
			path := filepath.Join(dir, fmt.Sprint(i))
			id := []byte{9, 9, byte(i)}
			testenv.WriteELF(t, path, id, "first")
			testenv.InflateELF(t, path, 200<<20)
			f.Add(path)
			if name, _ := f.Name(append(id, make([]byte, 17)...), testenv.CodeOffset+5, true); !strings.HasPrefix(name, fmt.Sprint(i)) {
				t.Errorf("it is %q", name)
			}
		}
	})
	if got > 16<<20 {
		t.Errorf("%d bytes allocated", got)
	}
	if len(f.images) != 4 {
		t.Errorf("%d images", len(f.images))
	}
	for i := range f.images {
		f.images[i].size = maxImageBytes / 4
	}
	path := filepath.Join(dir, "last")
	testenv.WriteELF(t, path, []byte{9, 9, 9}, "first")
	f.Add(path)
	f.Name(append([]byte{9, 9, 9}, make([]byte, 17)...), testenv.CodeOffset, true)
	if len(f.images) != 4 {
		t.Errorf("%d images: none was dropped for the fifth", len(f.images))
	}
}

// The number of mappings that are read per process is limited.
func TestMappingsAreBounded(t *testing.T) {
	dir := t.TempDir()
	maps, err := os.Create(filepath.Join(dir, "maps"))
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(maps)
	for i := range 65530 {
		fmt.Fprintf(w, "%x-%x r-xp 00001000 08:01 131 /%s\n", i<<12, i<<12+4096, strings.Repeat("a", 1000))
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	var list []mapping
	if got := testenv.Allocated(func() { list = readMappings(dir) }); got > 4<<20 || len(list) != maxMappings {
		t.Errorf("%d mappings, %d bytes allocated", len(list), got)
	}
	f := NewFiles()
	for pid := range uint32(2 * maxProcesses) {
		f.remember(pid, &process{})
	}
	if len(f.processes) > maxProcesses {
		t.Errorf("%d processes remembered", len(f.processes))
	}
}

func TestAlive(t *testing.T) {
	cmd := exec.Command("sh", "-c", "echo; read x")
	in := testenv.Running(t, cmd)
	defer func() { in.Close(); cmd.Wait() }()
	dir := proc.Dir(uint32(cmd.Process.Pid))
	stat, err := proc.ReadStat(dir)
	if err != nil || stat.Start == 0 {
		t.Fatalf("%+v, %v", stat, err)
	}
	task := Task{Start: stat.Start*proc.ClockTick + 1, Comm: stat.Comm}
	if !alive(dir, task) {
		t.Error("a running process is not alive")
	}
	task.Comm = "another"
	if alive(dir, task) {
		t.Error("a process that runs another program is alive")
	}
}

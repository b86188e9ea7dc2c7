package proc

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

func TestParseStat(t *testing.T) {
	const rest = " S 7 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 235 1 18446744073709551615 1\n"
	for name, tt := range map[string]struct {
		text string
		want Stat
	}{
		"a plain name":             {"12 (sh)" + rest, Stat{"sh", 'S', 7, 4711}},
		"a name like later fields": {"12 (a) R 1 (b c)" + rest, Stat{"a) R 1 (b c", 'S', 7, 4711}},
		"no name":                  {"12 ()" + rest, Stat{"", 'S', 7, 4711}},
		"a line break":             {"12 (a\nb)" + rest, Stat{"a\nb", 'S', 7, 4711}},
	} {
		if got, err := parseStat([]byte(tt.text)); err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for _, text := range []string{
		"", "12", "12 (sh", "12 )sh(" + rest, "12 (sh)", "12 (sh) S 7",
		strings.Replace("12 (sh)"+rest, "4711", "-1", 1), strings.Replace("12 (sh)"+rest, " 7 ", " x ", 1),
	} {
		if got, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestAZombieHasEnded(t *testing.T) {
	cmd := exec.Command("/bin/true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	dir := Dir(uint32(cmd.Process.Pid))
	if s, err := ReadStat(dir); err != nil || !s.Ended() || s.PPID != uint32(os.Getpid()) {
		t.Errorf("a zombie: %+v, %v", s, err)
	}
	cmd.Wait()
	if s, err := ReadStat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after it was reaped: %+v, %v", s, err)
	}
	for _, err := range Mappings(dir) {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("mappings after it was reaped: %v", err)
		}
	}
}

func TestReadStatOfThisProcess(t *testing.T) {
	s, err := ReadStat(Dir(uint32(os.Getpid())))
	if err != nil || s.Ended() || s.PPID != uint32(os.Getppid()) || s.Start == 0 {
		t.Errorf("%+v, %v", s, err)
	}
	if comm, err := os.ReadFile("/proc/self/comm"); err != nil || s.Comm+"\n" != string(comm) {
		t.Errorf("name %q, want %q", s.Comm, comm)
	}
	pids, err := PIDs()
	if err != nil || !slices.Contains(pids, uint32(os.Getpid())) {
		t.Errorf("processes: %v, %v", pids, err)
	}
}

func TestMappingsOfThisProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a file")
	if err := os.WriteFile(path, make([]byte, 3*os.Getpagesize()), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	page := os.Getpagesize()
	b, err := unix.Mmap(int(f.Fd()), int64(page), 2*page, unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(b)
	start := uint64(uintptr(unsafe.Pointer(&b[0])))
	found, code := 0, 0
	for m, err := range Mappings("/proc/self") {
		if err != nil {
			t.Fatal(err)
		}
		if m.Executable {
			code++
		}
		if string(m.Path) != path {
			continue
		}
		found++
		if m.Start != start || m.End != start+uint64(2*page) || m.Offset != uint64(page) || !m.Writable || m.Executable {
			t.Errorf("it is %+v", m)
		}
	}
	if found != 1 || code == 0 {
		t.Errorf("%d mappings of the file, %d with code", found, code)
	}
}

func TestNamespaces(t *testing.T) {
	for kind, initial := range map[string]func() (bool, error){"pid": InitialPIDNamespace, "time": InitialTimeNamespace} {
		own, err := initial()
		if err != nil {
			t.Fatal(err)
		}
		// Process 1 can be in another namespace than the initial one, if the test runs in a container.
		first, err := os.Readlink("/proc/1/ns/" + kind)
		mine, _ := os.Readlink("/proc/self/ns/" + kind)
		if own && err == nil && first != mine {
			t.Errorf("%s: this process is in %s, process 1 in %s", kind, mine, first)
		}
	}
}

// The test runs itself in a new pid namespace, first with a /proc of that namespace, then without /proc.
func TestOtherPIDNamespace(t *testing.T) {
	const variable = "RBTOOL_TEST_NAMESPACE"
	switch os.Getenv(variable) {
	case "inside":
		if initial, err := InitialPIDNamespace(); initial || err != nil {
			t.Errorf("in a new pid namespace: %v, %v", initial, err)
		}
		if err := unix.Mount("tmpfs", "/proc", "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		if initial, err := InitialPIDNamespace(); initial || err == nil {
			t.Errorf("without /proc: %v, %v", initial, err)
		}
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--pid", "--mount-proc", "--fork", exe, "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), variable+"=inside")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("12 (sh) S 7 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 235"))
	f.Add([]byte("12 (a) (b) Z 7 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 235"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseStat(text)
		if err == nil && !strings.Contains(string(text), "("+s.Comm+")") {
			t.Errorf("%q: %+v", text, s)
		}
	})
}

func FuzzParseMapping(f *testing.F) {
	f.Add([]byte("7f0e8c000000-7f0e8c028000 r-xp 00000000 08:01 131    /usr/lib/libc.so.6"))
	f.Add([]byte("ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]"))
	f.Add([]byte("7ffc0b1e4000-7ffc0b1e5000 rw-p 00000000 00:00 0 "))
	f.Fuzz(func(t *testing.T, line []byte) {
		m, ok := parseMapping(line)
		if ok && (m.Start > m.End || !strings.HasSuffix(string(line), string(m.Path))) {
			t.Errorf("%q: %+v", line, m)
		}
	})
}

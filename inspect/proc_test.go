package inspect

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	gocmp "github.com/google/go-cmp/cmp"
)

func TestReadMaps(t *testing.T) {
	const text = `00400000-00452000 r-xp 00000000 08:02 173521                             /usr/bin/dbus daemon
7f2c8a000000-7f2c8a001000 rw-s 00000000 00:0e 1057                       anon_inode:bpf-map
7f2c8a001000-7f2c8a006000 r--s 00001000 00:0e 1057                       anon_inode:bpf-map
7f2c8a006000-7f2c8a007000 rw-s 00000000 00:01 1058                       /memfd:bpf-map (deleted)
7f2c8a007000-7f2c8a008000 rw-s 00000000 08:02 1059                       /tmp/anon_inode:bpf-map
7ffc0b1c2000-7ffc0b1e3000 rw-p 00000000 00:00 0                          [stack]
7ffc0b1e4000-7ffc0b1e5000 rw-p 00000000 00:00 0
garbage rw-s x 00:0e 1057 anon_inode:bpf-map
100000000000-100100000000 rw-s 00000000 00:0e 1057                       anon_inode:bpf-map
`
	want := []vma{{0, 4096, true}, {4096, 5 * 4096, false}, {0, 1 << 32, true}}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "maps"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readMaps(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(want, got, gocmp.AllowUnexported(vma{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestParseFdinfo(t *testing.T) {
	page := uint64(os.Getpagesize())
	for name, tt := range map[string]struct {
		text string
		want shape
		ok   bool
	}{
		"a ring": {"pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t1057\nmap_type:\t27\nkey_size:\t0\nvalue_size:\t0\n" +
			"max_entries:\t8192\nmap_flags:\t0x0\nmap_extra:\t0x0\nmemlock:\t21256\nmap_id:\t12\nfrozen:\t0\n",
			shape{12, ebpf.RingBuf, 8192}, true},
		"the largest arena": {"map_type:\t33\nmax_entries:\t1048576\nmap_id:\t4294967295\n",
			shape{1<<32 - 1, ebpf.Arena, 1048576 * page}, true},
		"another file": {"pos:\t0\nflags:\t02000002\n", shape{}, false},
		"an empty one": {"", shape{}, false},
	} {
		got, ok := parseFdinfo(tt.text)
		if ok != tt.ok || got != tt.want {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, ok, tt.want)
		}
	}
}

func TestReadProcessesWithoutProc(t *testing.T) {
	if _, _, err := readProcesses(t.TempDir() + "/nothing"); !os.IsNotExist(err) {
		t.Error(err)
	}
}

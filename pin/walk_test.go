package pin_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"

	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/pin"
)

// Walk omits the iterators that the kernel pins itself, which bpf(2) cannot open.
func TestWalkPassesOverPinsThatCannotBeOpened(t *testing.T) {
	for e, err := range pin.Walk("/sys/fs/bpf") {
		if strings.HasSuffix(e.Path, ".debug") {
			t.Errorf("%s: %v", e.Path, err)
		}
	}
}

func TestWalkYieldsEveryPin(t *testing.T) {
	testenv.NoLeaks(t)
	dir, ring, hash, p := testenv.BPFFS(t), testenv.Ring(t, testenv.PageSize), hashMap(t), program(t)
	l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: "sched_process_exit", Program: p})
	must(t, err)
	defer l.Close()
	must(t, pin.Map(ring, dir+"/b/ring", pin.Options{}))
	must(t, pin.Map(ring, dir+"/a", pin.Options{Mode: 0o444}))
	must(t, pin.Map(hash, dir+"/b/c/hash", pin.Options{}))
	must(t, pin.Program(p, dir+"/prog", pin.Options{}))
	must(t, pin.Link(l, dir+"/link", pin.Options{}))
	must(t, os.Symlink("b", dir+"/symlink"))
	must(t, os.Symlink("..", dir+"/b/up"))
	must(t, os.Symlink(dir, dir+"/b/c/self"))

	want := []pin.Entry{
		{Path: dir + "/a", Kind: pin.KindMap, Mode: 0o444, ID: mapID(t, ring), Type: ebpf.RingBuf, Name: "test_ring"},
		{Path: dir + "/b/c/hash", Kind: pin.KindMap, Mode: 0o600, ID: mapID(t, hash), Type: ebpf.Hash, Name: "test_hash"},
		{Path: dir + "/b/ring", Kind: pin.KindMap, Mode: 0o600, ID: mapID(t, ring), Type: ebpf.RingBuf, Name: "test_ring"},
		{Path: dir + "/link", Kind: pin.KindLink, Mode: 0o600},
		{Path: dir + "/prog", Kind: pin.KindProgram, Mode: 0o600},
	}
	var got []pin.Entry
	for e, err := range pin.Walk(dir) {
		must(t, err)
		got = append(got, e)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}

	n := 0
	for range pin.Walk(dir) {
		if n++; n == 2 {
			break
		}
	}
	must(t, os.Symlink(dir+"/b", dir+"/root"))
	for e, err := range pin.Walk(dir + "/root") {
		must(t, err)
		if e.Path != dir+"/root/c/hash" {
			t.Errorf("through a symbolic link: %s", e.Path)
		}
		break
	}
}

func TestWalkLeavesOutWhatVanishes(t *testing.T) {
	dir, m := testenv.BPFFS(t), testenv.Ring(t, testenv.PageSize)
	for _, path := range []string{"/a", "/b", "/c/d", "/e"} {
		must(t, pin.Map(m, dir+path, pin.Options{}))
	}
	var got []string
	for e, err := range pin.Walk(dir) {
		must(t, err)
		got = append(got, e.Path)
		os.Remove(dir + "/b")
		os.RemoveAll(dir + "/c")
	}
	if diff := cmp.Diff([]string{dir + "/a", dir + "/e"}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestWalkNeedsABPFFS(t *testing.T) {
	plain := t.TempDir()
	for e, err := range pin.Walk(plain) {
		wantError(t, err, pin.ErrNotBPFFS, `walk "`+plain+`": not on a bpffs`)
		if e.Path != plain {
			t.Errorf("path %q", e.Path)
		}
	}
	for _, err := range pin.Walk(plain + "/nothing") {
		wantError(t, err, fs.ErrNotExist, `walk "`+plain+`/nothing": no such file or directory`)
	}
}

func TestOneBadEntryDoesNotStopTheWalk(t *testing.T) {
	if !privateMounts(t) {
		return
	}
	const variable = "RBTOOL_TEST_DIR"
	dir := os.Getenv(variable)
	if stage == inPrivateMounts {
		dir = publicBPFFS(t)
		m := testenv.Ring(t, testenv.PageSize)
		must(t, pin.Map(m, dir+"/a", pin.Options{Mode: 0o444})) // readable by any user
		must(t, pin.Map(m, dir+"/b", pin.Options{Mode: 0o600}))
		must(t, pin.Map(m, dir+"/c/d", pin.Options{}))
		must(t, os.Chmod(dir+"/c", 0o700))
		must(t, pin.Program(program(t), dir+"/e", pin.Options{Mode: 0o444}))
		mountBPFFS(t, dir+"/f")
		must(t, pin.Map(m, dir+"/f/g", pin.Options{}))
	}
	if !asNobody(t, variable+"="+dir) {
		return
	}
	var got []string
	for e, err := range pin.Walk(dir) {
		switch {
		case strings.HasSuffix(e.Path, ".debug"):
			// The kernel pins these if it has CONFIG_BPF_PRELOAD (populate_bpffs in kernel/bpf/inode.c).
		case err == nil:
			got = append(got, e.Path+" "+string(e.Kind))
		case errors.Is(err, fs.ErrPermission):
			got = append(got, e.Path+" denied")
		default:
			t.Error(err)
		}
	}
	want := []string{dir + "/a map", dir + "/b denied", dir + "/c denied", dir + "/e program", dir + "/f/g denied"}
	unprivileged := []string{dir + "/a denied", dir + "/b denied", dir + "/c denied", dir + "/e denied", dir + "/f/g denied"}
	if diff := cmp.Diff(want, got); diff != "" && !cmp.Equal(unprivileged, got) {
		t.Errorf("-want +got:\n%s", diff)
	}
}

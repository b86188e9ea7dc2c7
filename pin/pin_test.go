package pin_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpffs"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/pin"
)

func TestMapMakesMissingDirectories(t *testing.T) {
	testenv.NoLeaks(t)
	dir, m := testenv.BPFFS(t), testenv.Ring(t, testenv.PageSize)
	if diff := cmp.Diff([]string{dir + "/a/c", dir + "/a"}, bpffs.MissingParents(dir+"/a/b//../c/ring/")); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	must(t, pin.Map(m, dir+"/a/b//../c/ring/", pin.Options{}))
	if missing := bpffs.MissingParents(dir + "/a/c/ring"); missing != nil {
		t.Errorf("still missing: %q", missing)
	}
	if diff := cmp.Diff([]string{"a", "a/c", "a/c/ring"}, tree(t, dir)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	got, err := pin.Open(dir + "/a/c/ring")
	must(t, err)
	defer got.Close()
	if mapID(t, got) != mapID(t, m) {
		t.Error("opened another map")
	}
}

func TestMapTakesARelativePath(t *testing.T) {
	t.Chdir(testenv.BPFFS(t))
	if diff := cmp.Diff([]string{"sub"}, bpffs.MissingParents("sub/ring")); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
	must(t, pin.Map(testenv.Ring(t, testenv.PageSize), "sub/ring", pin.Options{}))
	must(t, pin.Map(testenv.Ring(t, testenv.PageSize), "ring", pin.Options{}))
	if diff := cmp.Diff([]string{"ring", "sub", "sub/ring"}, tree(t, ".")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAMapHasAnyNumberOfPins(t *testing.T) {
	dir, m := testenv.BPFFS(t), testenv.Ring(t, testenv.PageSize)
	must(t, m.Pin(dir+"/ciliums"))
	must(t, pin.Map(m, dir+"/first", pin.Options{}))
	must(t, pin.Map(m, dir+"/second", pin.Options{}))
	must(t, pin.Remove(dir+"/first"))
	if diff := cmp.Diff([]string{"ciliums", "second"}, tree(t, dir)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	must(t, m.Unpin())
	if diff := cmp.Diff([]string{"second"}, tree(t, dir)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestModeIsTheOneAskedFor(t *testing.T) {
	dir, m := testenv.BPFFS(t), testenv.Ring(t, testenv.PageSize)
	defer unix.Umask(unix.Umask(0o022))
	for mode, want := range map[fs.FileMode]fs.FileMode{0: 0o600, 0o600: 0o600, 0o666: 0o666, 0o400: 0o400, fs.ModeSetuid | 0o640: 0o640} {
		path := filepath.Join(dir, "x", "mode")
		must(t, pin.Map(m, path, pin.Options{Mode: mode}))
		st, err := os.Stat(path)
		must(t, err)
		if st.Mode() != want {
			t.Errorf("mode %v: got %v, want %v", mode, st.Mode(), want)
		}
		must(t, pin.Remove(path))
	}
	st, err := os.Stat(filepath.Join(dir, "x"))
	must(t, err)
	if st.Mode().Perm() != 0o755 {
		t.Errorf("directory's mode %v", st.Mode())
	}
}

func TestWhatCannotBePinnedToIsRefused(t *testing.T) {
	testenv.NoLeaks(t)
	dir, m, plain := testenv.BPFFS(t), testenv.Ring(t, testenv.PageSize), t.TempDir()
	must(t, m.Pin(dir+"/taken"))
	must(t, os.Mkdir(dir+"/dir", 0o755))
	must(t, os.Symlink("nowhere", dir+"/link"))
	must(t, os.Symlink(plain, dir+"/out"))
	must(t, os.WriteFile(plain+"/file", nil, 0o644))
	long := strings.Repeat("n", 256)
	before := tree(t, dir)

	for _, tt := range []struct {
		name, path string
		want       error
		cause      string
	}{
		{"not on a bpffs", plain + "/x", pin.ErrNotBPFFS, "not on a bpffs"},
		{"not on a bpffs, directories missing", plain + "/a/b/x", pin.ErrNotBPFFS, "not on a bpffs"},
		{"an existing file not on a bpffs", plain + "/file", pin.ErrNotBPFFS, "not on a bpffs"},
		{"below a file not on a bpffs", plain + "/file/x", pin.ErrNotBPFFS, "not on a bpffs"},
		{"out of the bpffs by a symbolic link", dir + "/out/x", pin.ErrNotBPFFS, "not on a bpffs"},
		{"empty", "", pin.ErrNotBPFFS, "not on a bpffs"},
		{"root", "/", pin.ErrNotBPFFS, "not on a bpffs"},
		{"existing pin", dir + "/taken", fs.ErrExist, "file already exists"},
		{"existing directory", dir + "/dir", fs.ErrExist, "file already exists"},
		{"existing symbolic link", dir + "/link", fs.ErrExist, "file already exists"},
		{"the mount point", bpffs.DefaultRoot, fs.ErrExist, "file already exists"},
		{"below a pin", dir + "/taken/x", unix.ENOTDIR, dir + "/taken is not a directory"},
		{"further below a pin", dir + "/taken/a/x", unix.ENOTDIR, dir + "/taken is not a directory"},
		{"a dot", dir + "/a.b", pin.ErrName, `not a name for a pin: "a.b" has a dot, which bpffs reserves for the kernel's own entries`},
		{"a dot in a directory", dir + "/.a/b/c", pin.ErrName, `not a name for a pin: ".a" has a dot, which bpffs reserves for the kernel's own entries`},
		{"too long", dir + "/a/" + long, pin.ErrName, "not a name for a pin: 256 bytes are more than 255"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantError(t, pin.Map(m, tt.path, pin.Options{}), tt.want, `pin map to "`+tt.path+`": `+tt.cause)
			if tt.path != "" {
				wantError(t, pin.Check(tt.path), tt.want, `pin to "`+tt.path+`": `+tt.cause)
			}
		})
	}
	if err := pin.Check(dir + "/a/" + long); !errors.Is(err, unix.ENAMETOOLONG) {
		t.Errorf("the errno is lost: %v", err)
	}
	must(t, pin.Check(dir+"/dir/x"))
	must(t, pin.Check(dir+"/new/new/x"))
	if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
		t.Errorf("a refusal left something behind, -want +got:\n%s", diff)
	}
}

func TestAFailedPinRemovesTheDirectoriesItMade(t *testing.T) {
	dir, m := testenv.BPFFS(t), testenv.Ring(t, testenv.PageSize)
	// Each name is short enough, but the path is too long. The kernel refuses it after most of
	// the directories are created.
	path := dir + strings.Repeat("/"+strings.Repeat("d", 255), 16)
	wantError(t, pin.Map(m, path, pin.Options{}), unix.ENAMETOOLONG, `pin map to "`+path+`": file name too long`)
	if diff := cmp.Diff([]string(nil), tree(t, dir)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAClosedMapIsNotPinned(t *testing.T) {
	path, m := testenv.PinPath(t, "a/b"), testenv.Ring(t, testenv.PageSize)
	m.Close()
	if err := pin.Map(m, path, pin.Options{}); err == nil {
		t.Error("no error")
	}
	if diff := cmp.Diff([]string(nil), tree(t, filepath.Dir(filepath.Dir(path)))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestProgramsAndLinksArePinnedLikeMaps(t *testing.T) {
	testenv.NoLeaks(t)
	dir, p := testenv.BPFFS(t), program(t)
	l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: "sched_process_exit", Program: p})
	must(t, err)
	defer l.Close()
	must(t, pin.Program(p, dir+"/p/prog", pin.Options{Mode: 0o640}))
	must(t, pin.Link(l, dir+"/l/link", pin.Options{}))
	must(t, pin.Link(l, dir+"/l/again", pin.Options{}))
	wantError(t, pin.Link(l, dir+"/l/again", pin.Options{}), fs.ErrExist, `pin link to "`+dir+`/l/again": file already exists`)

	pinned, err := ebpf.LoadPinnedProgram(dir+"/p/prog", nil)
	must(t, err)
	pinned.Close()
	for _, name := range []string{"link", "again"} {
		pinned, err := link.LoadPinnedLink(dir+"/l/"+name, nil)
		must(t, err)
		pinned.Close()
	}
}

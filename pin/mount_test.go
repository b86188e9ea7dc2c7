package pin_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpffs"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/pin"
)

func TestMountsFindsEveryVisibleBPFFS(t *testing.T) {
	if !privateMounts(t) {
		return
	}
	unmountAll(t)
	dir := t.TempDir()
	blank := filepath.Join(dir, "with blank and \\backslash\n")
	bind := filepath.Join(dir, "bind")
	below := filepath.Join(dir, "below")
	covered := filepath.Join(dir, "covered")

	mountBPFFS(t, blank)
	mountBPFFS(t, covered)
	must(t, unix.Mount("none", covered, "tmpfs", 0, ""))
	t.Cleanup(func() { unix.Unmount(covered, 0) })
	must(t, os.Mkdir(filepath.Join(blank, "sub"), 0o755))
	must(t, os.Mkdir(bind, 0o755))
	must(t, os.Mkdir(below, 0o755))
	must(t, unix.Mount(blank, bind, "", unix.MS_BIND, ""))
	must(t, unix.Mount(filepath.Join(blank, "sub"), below, "", unix.MS_BIND, ""))
	t.Cleanup(func() { unix.Unmount(below, 0) })

	got, err := bpffs.Mounts()
	must(t, err)
	if diff := cmp.Diff([]string{blank}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if got, err := bpffs.Default(); err != nil || got != blank {
		t.Errorf("Default: %q, %v", got, err)
	}

	// A mount covers an earlier mount on the same directory.
	mountBPFFS(t, blank)
	got, err = bpffs.Mounts()
	must(t, err)
	if !slices.Contains(got, blank) || len(slices.Compact(got)) != len(got) {
		t.Errorf("got %q", got)
	}
	must(t, unix.Unmount(blank, 0))

	// If a bpffs is reachable only through bind mounts of its directories, each of these is listed.
	must(t, unix.Unmount(blank, 0))
	must(t, unix.Unmount(bind, 0))
	got, err = bpffs.Mounts()
	must(t, err)
	if diff := cmp.Diff([]string{below}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestMountMountsOnRequestOnly(t *testing.T) {
	if !privateMounts(t) {
		return
	}
	unmountAll(t)
	if _, err := bpffs.Default(); !errors.Is(err, bpffs.ErrNotMounted) {
		t.Errorf("Default without a bpffs: %v", err)
	}
	m := hashMap(t)
	err := pin.Map(m, bpffs.DefaultRoot+"/x", pin.Options{})
	wantError(t, err, pin.ErrNotBPFFS, `pin map to "/sys/fs/bpf/x": not on a bpffs`)

	must(t, bpffs.Mount(bpffs.DefaultRoot))
	must(t, bpffs.Mount(bpffs.DefaultRoot)) // does nothing the second time
	mounts, err := bpffs.Mounts()
	must(t, err)
	if !slices.Equal(mounts, []string{bpffs.DefaultRoot}) {
		t.Errorf("mounted on %q", mounts)
	}
	var st unix.Stat_t
	must(t, unix.Stat(bpffs.DefaultRoot, &st))
	if st.Mode&0o777 != 0o700 {
		t.Errorf("mode %o", st.Mode&0o777)
	}
	must(t, pin.Map(m, bpffs.DefaultRoot+"/x", pin.Options{}))

	nowhere := filepath.Join(t.TempDir(), "nowhere")
	wantError(t, bpffs.Mount(nowhere), unix.ENOENT, `mount bpffs on "`+nowhere+`": no such file or directory`)
}

func TestMountSaysWhatPrivilegeIsMissing(t *testing.T) {
	if !asNobody(t) {
		return
	}
	wantError(t, bpffs.Mount("/tmp"), unix.EPERM, `mount bpffs on "/tmp": operation not permitted (needs CAP_SYS_ADMIN)`)
}

func TestDefaultIsWhereEverybodyPins(t *testing.T) {
	testenv.BPFFS(t)
	if got, err := bpffs.Default(); err != nil || got != bpffs.DefaultRoot {
		t.Errorf("got %q, %v", got, err)
	}
}

// unmountAll unmounts every bpffs in this mount namespace.
func unmountAll(t *testing.T) {
	t.Helper()
	for {
		mounts, err := bpffs.Mounts()
		must(t, err)
		if len(mounts) == 0 {
			return
		}
		for _, dir := range mounts {
			must(t, unix.Unmount(dir, unix.MNT_DETACH))
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

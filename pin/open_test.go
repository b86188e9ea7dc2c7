package pin_test

import (
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpffs"
	"github.com/rbtool/rbtool/internal/testenv"
	"github.com/rbtool/rbtool/pin"
)

func TestOpenChecksTheType(t *testing.T) {
	testenv.NoLeaks(t)
	dir, p := testenv.BPFFS(t), program(t)
	l, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: "sched_process_exit", Program: p})
	must(t, err)
	defer l.Close()
	must(t, pin.Map(testenv.Ring(t, testenv.PageSize), dir+"/ring", pin.Options{}))
	must(t, pin.Map(hashMap(t), dir+"/hash", pin.Options{}))
	must(t, pin.Program(p, dir+"/prog", pin.Options{}))
	must(t, pin.Link(l, dir+"/link", pin.Options{}))
	must(t, os.Symlink("ring", dir+"/symlink"))
	must(t, os.Symlink("nothing", dir+"/dangling"))
	plain := t.TempDir()
	must(t, os.WriteFile(plain+"/file", nil, 0o644))

	for _, tt := range []struct {
		name, path string
		types      []ebpf.MapType
		want       error
		cause      string
	}{
		{"any map", dir + "/hash", nil, nil, ""},
		{"the type asked for", dir + "/ring", []ebpf.MapType{ebpf.RingBuf}, nil, ""},
		{"one of the types asked for", dir + "/ring", []ebpf.MapType{ebpf.UserRingbuf, ebpf.RingBuf}, nil, ""},
		{"by a symbolic link", dir + "/symlink", nil, nil, ""},
		{"another type", dir + "/hash", []ebpf.MapType{ebpf.UserRingbuf, ebpf.Arena}, pin.ErrWrongType, "wrong type: it is a map of type hash, wanted user_ringbuf or arena"},
		{"a program", dir + "/prog", []ebpf.MapType{ebpf.RingBuf}, pin.ErrWrongType, "wrong type: it is a program, wanted ringbuf"},
		{"a link", dir + "/link", nil, pin.ErrWrongType, "wrong type: it is a link, wanted a map"},
		{"a directory", dir, nil, pin.ErrNotPin, "not a pin: it is a directory"},
		{"nothing", dir + "/nothing", nil, fs.ErrNotExist, "file does not exist"},
		{"nothing, in no directory", dir + "/no/thing", nil, fs.ErrNotExist, "file does not exist"},
		{"a dangling symbolic link", dir + "/dangling", nil, fs.ErrNotExist, "file does not exist"},
		{"a name that cannot be", dir + "/a.b", nil, fs.ErrNotExist, `no such pin (not a name for a pin: "a.b" has a dot, which bpffs reserves for the kernel's own entries)`},
		{"below a pin", dir + "/ring/x", nil, unix.ENOTDIR, dir + "/ring is not a directory"},
		{"a file elsewhere", plain + "/file", nil, pin.ErrNotBPFFS, "not on a bpffs"},
		{"nothing elsewhere", plain + "/nothing", nil, pin.ErrNotBPFFS, "not on a bpffs"},
		{"a device", "/dev/null", nil, pin.ErrNotBPFFS, "not on a bpffs"},
		{"empty", "", nil, pin.ErrName, "not a name for a pin: it is empty"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := pin.Open(tt.path, tt.types...)
			wantError(t, err, tt.want, `open map "`+tt.path+`": `+tt.cause)
			if err == nil {
				m.Close()
			}
		})
	}
}

func TestOpenIsGoodForMapping(t *testing.T) {
	path := testenv.PinPath(t, "ring")
	must(t, pin.Map(testenv.Ring(t, testenv.PageSize), path, pin.Options{}))
	m, err := pin.Open(path)
	must(t, err)
	defer m.Close()
	mem, err := unix.Mmap(m.FD(), 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	must(t, err)
	must(t, unix.Munmap(mem))
}

func TestPermissionsAreThoseOfThePin(t *testing.T) {
	if !privateMounts(t) {
		return
	}
	const variable = "RBTOOL_TEST_DIR"
	dir := os.Getenv(variable)
	if stage == inPrivateMounts {
		dir = publicBPFFS(t)
		m := testenv.Ring(t, testenv.PageSize)
		must(t, pin.Map(m, dir+"/private", pin.Options{}))
		must(t, pin.Map(m, dir+"/readable", pin.Options{Mode: 0o644}))
		must(t, pin.Map(m, dir+"/public", pin.Options{Mode: 0o666}))
		must(t, os.Mkdir(dir+"/closed", 0o700))
		must(t, unix.Chmod(dir, 0o1777))
	}
	if !asNobody(t, variable+"="+dir) {
		return
	}
	// The root of the bpffs is sticky: only the owner of an entry can remove it.
	wantError(t, pin.Remove(dir+"/public"), fs.ErrPermission, `unpin "`+dir+`/public": operation not permitted`)
	const denied = "permission denied (by the mode of the path or of a directory above it)"
	wantError(t, pin.Check(dir+"/closed/x"), fs.ErrPermission, `pin to "`+dir+`/closed/x": `+denied)

	m, err := pin.Open(dir + "/public")
	if errors.Is(err, unix.EPERM) {
		wantError(t, err, fs.ErrPermission, `open map "`+dir+`/public": operation not permitted (needs CAP_BPF on this kernel)`)
		testenv.SkipWithout(t, "unprivileged-obj-get", err)
	}
	must(t, err)
	defer m.Close()
	for _, name := range []string{"private", "readable", "closed/x"} {
		_, err := pin.Open(dir + "/" + name)
		wantError(t, err, fs.ErrPermission, `open map "`+dir+"/"+name+`": `+denied)
	}
	must(t, pin.Map(m, dir+"/mine/ring", pin.Options{}))
	must(t, pin.Replace(m, dir+"/mine/ring", pin.Options{}))
	wantError(t, pin.Map(m, dir+"/closed/x", pin.Options{}), fs.ErrPermission, `pin map to "`+dir+`/closed/x": `+denied)
	wantError(t, pin.Replace(m, dir+"/private", pin.Options{}), fs.ErrPermission, `replace map at "`+dir+`/private": `+denied)
	must(t, pin.Remove(dir+"/mine/ring"))
}

func TestRemove(t *testing.T) {
	testenv.NoLeaks(t)
	dir, p := testenv.BPFFS(t), program(t)
	m := testenv.Ring(t, testenv.PageSize)
	must(t, pin.Map(m, dir+"/ring", pin.Options{}))
	must(t, pin.Program(p, dir+"/prog", pin.Options{}))
	must(t, os.Mkdir(dir+"/dir", 0o755))
	must(t, os.Symlink("ring", dir+"/symlink"))
	plain := t.TempDir()
	must(t, os.WriteFile(plain+"/file", nil, 0o644))

	for _, tt := range []struct {
		name, path string
		want       error
		cause      string
	}{
		{"a map", dir + "/ring", nil, ""},
		{"a program", dir + "/prog", nil, ""},
		{"a second time", dir + "/ring", fs.ErrNotExist, "file does not exist"},
		{"a directory", dir + "/dir", pin.ErrNotPin, "not a pin: it is a directory"},
		{"the mount point", bpffs.DefaultRoot, pin.ErrNotPin, "not a pin: it is a directory"},
		{"a symbolic link", dir + "/symlink", pin.ErrNotPin, "not a pin: it is a symbolic link"},
		{"a file elsewhere", plain + "/file", pin.ErrNotBPFFS, "not on a bpffs"},
		{"a directory elsewhere", plain, pin.ErrNotBPFFS, "not on a bpffs"},
		{"nothing elsewhere", plain + "/nothing", pin.ErrNotBPFFS, "not on a bpffs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantError(t, pin.Remove(tt.path), tt.want, `unpin "`+tt.path+`": `+tt.cause)
		})
	}
	// Removing the pin does not affect the map.
	if _, err := m.Info(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(plain + "/file"); err != nil {
		t.Error(err)
	}
}

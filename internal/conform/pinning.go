package conform

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

const inodeSource = "kernel/bpf/inode.c, "

var _ = register(Pinning,
	Rule{
		Name:      "survives-descriptors",
		Statement: "A pinned map keeps its content when no process has a descriptor of it.",
		Source:    inodeSource + "bpf_obj_pin_user",
		check: func(t *T) {
			fs := t.bpffs()
			m := t.counter(7)
			id := t.mapID(m)
			t.must(fs.pin(m, "map"), "pin")
			t.must(m.Close(), "close")
			again := fs.mustOpen("map")
			equal(t, "id", t.mapID(again), id)
			equal(t, "content", t.count(again), 7)
		},
	},
	Rule{
		Name:      "unpin-frees",
		Statement: "unlink(2) of the only pin frees a map of which no process has a descriptor.",
		Source:    inodeSource + "bpf_free_inode",
		check: func(t *T) {
			fs := t.bpffs()
			m := t.counter(0)
			id := t.mapID(m)
			t.must(fs.pin(m, "map"), "pin")
			t.must(m.Close(), "close")
			t.must(os.Remove(fs.path("map")), "unlink")
			t.eventually("the map is gone", func() bool { return !mapExists(id) })
		},
	},
	Rule{
		Name:      "same-object",
		Statement: "Each open of a pin, and of another pin of the map, returns the same map.",
		Source:    inodeSource + "bpf_obj_get_user",
		check: func(t *T) {
			fs := t.bpffs()
			m := t.counter(1)
			t.must(fs.pin(m, "a"), "pin")
			t.must(fs.pin(m, "b"), "pin again")
			a, b := fs.mustOpen("a"), fs.mustOpen("b")
			equal(t, "ids", t.mapID(a), t.mapID(b))
			t.must(a.Put(uint32(0), uint64(2)), "update")
			equal(t, "content by the other pin", t.count(b), 2)
		},
	},
	Rule{
		Name:      "open-read-only",
		Statement: "A map opened with BPF_F_RDONLY can be read; writes to it fail with EPERM.",
		Source:    "kernel/bpf/syscall.c, map_get_sys_perms",
		check: func(t *T) {
			fs := t.bpffs()
			t.must(fs.pin(t.counter(3), "map"), "pin")
			m, err := fs.open("map", flagRead)
			t.must(err, "open")
			equal(t, "content", t.count(m), 3)
			key, value := uint32(0), uint64(4)
			_, err = t.element(unix.BPF_MAP_UPDATE_ELEM, m, unsafe.Pointer(&key), unsafe.Pointer(&value), 0)
			t.fails("update", err, unix.EPERM)
		},
	},
	Rule{
		Name:      "not-replaced",
		Statement: "Pinning to a name that exists fails with EEXIST.",
		Source:    inodeSource + "bpf_obj_do_pin",
		check: func(t *T) {
			fs := t.bpffs()
			t.must(fs.pin(t.counter(1), "map"), "pin")
			t.fails("pin another there", fs.pin(t.counter(2), "map"), unix.EEXIST)
			equal(t, "content", t.count(fs.mustOpen("map")), 1)
		},
	},
	Rule{
		Name:      "mode",
		Statement: "A pin's permissions are those of a file created with mode 0600.",
		Source:    inodeSource + "bpf_obj_do_pin",
		check: func(t *T) {
			fs := t.bpffs()
			t.must(fs.pin(t.counter(1), "map"), "pin")
			var st unix.Stat_t
			t.must(unix.Stat(fs.path("map"), &st), "stat")
			equal(t, "mode", st.Mode, unix.S_IFREG|0o600)
		},
	},
	Rule{
		Name:      "directories",
		Statement: "A bpffs has directories, which hold pins and cannot be removed while they do: ENOTEMPTY.",
		Source:    inodeSource + "bpf_dir_iops",
		check: func(t *T) {
			fs := t.bpffs()
			t.must(os.Mkdir(fs.path("dir"), 0o700), "make directory")
			t.must(fs.pin(t.counter(5), "dir/map"), "pin")
			equal(t, "content", t.count(fs.mustOpen("dir/map")), 5)
			t.fails("remove directory", unix.Rmdir(fs.path("dir")), unix.ENOTEMPTY)
		},
	},
	Rule{
		Name:      "rename",
		Statement: "rename(2) moves a pin; the map is the same.",
		Source:    inodeSource + "bpf_dir_iops",
		check: func(t *T) {
			fs := t.bpffs()
			m := t.counter(1)
			t.must(fs.pin(m, "old"), "pin")
			t.must(os.Mkdir(fs.path("dir"), 0o700), "make directory")
			t.must(unix.Rename(fs.path("old"), fs.path("dir/new")), "rename")
			equal(t, "id", t.mapID(fs.mustOpen("dir/new")), t.mapID(m))
			_, err := fs.open("old", 0)
			t.fails("open by the old name", err, unix.ENOENT)
		},
	},
	Rule{
		Name:      "hard-link",
		Statement: "link(2) makes another pin of the same map, which keeps the map when the first pin is gone.",
		Source:    inodeSource + "bpf_dir_iops",
		check: func(t *T) {
			fs := t.bpffs()
			m := t.counter(1)
			t.must(fs.pin(m, "a"), "pin")
			t.must(unix.Link(fs.path("a"), fs.path("b")), "link")
			t.must(unix.Unlink(fs.path("a")), "unlink")
			equal(t, "id", t.mapID(fs.mustOpen("b")), t.mapID(m))
		},
	},
	Rule{
		Name:      "symbolic-link",
		Statement: "A bpffs holds symbolic links, and BPF_OBJ_GET follows them.",
		Source:    inodeSource + "bpf_symlink",
		check: func(t *T) {
			fs := t.bpffs()
			m := t.counter(1)
			t.must(fs.pin(m, "map"), "pin")
			t.must(unix.Symlink("map", fs.path("link")), "make link")
			equal(t, "id", t.mapID(fs.mustOpen("link")), t.mapID(m))
		},
	},
	Rule{
		Name:      "no-dots",
		Statement: "A name with a dot in it is refused with EPERM: for a pin, a directory and a link.",
		Source:    inodeSource + "bpf_lookup",
		check: func(t *T) {
			fs := t.bpffs()
			t.fails("pin", fs.pin(t.counter(1), "a.b"), unix.EPERM)
			t.fails("make directory", unix.Mkdir(fs.path("a.b"), 0o700), unix.EPERM)
			t.fails("make link", unix.Symlink("x", fs.path(".b")), unix.EPERM)
		},
	},
	Rule{
		Name:      "no-files",
		Statement: "A bpffs accepts no regular files: open(2) with O_CREAT fails with EACCES.",
		Source:    inodeSource + "bpf_dir_iops; fs/namei.c, vfs_create",
		check: func(t *T) {
			fd, err := unix.Open(t.bpffs().path("file"), unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
			if err == nil {
				unix.Close(fd)
			}
			t.fails("create file", err, unix.EACCES)
		},
	},
	Rule{
		Name:      "not-opened",
		Statement: "open(2) of a pin of a map without BTF fails with EIO: a pin is opened with BPF_OBJ_GET.",
		Source:    inodeSource + "bpffs_obj_open",
		check: func(t *T) {
			fs := t.bpffs()
			t.must(fs.pin(t.counter(1), "map"), "pin")
			fd, err := unix.Open(fs.path("map"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err == nil {
				unix.Close(fd)
			}
			t.fails("open", err, unix.EIO)
		},
	},
	Rule{
		Name:      "bpffs-only",
		Statement: "Pinning to another file system fails with EPERM, and leaves no file there.",
		Source:    inodeSource + "bpf_obj_do_pin",
		check: func(t *T) {
			dir, err := os.MkdirTemp("", "rbtool-conform-")
			t.must(err, "make directory")
			t.cleanup(func() { os.RemoveAll(dir) })
			elsewhere := bpffs{t, dir}
			t.fails("pin", elsewhere.pin(t.counter(1), "map"), unix.EPERM)
			left, err := os.ReadDir(dir)
			t.must(err, "read directory")
			equal(t, "entries left", len(left), 0)
		},
	},
	Rule{
		Name:      "mounts-are-apart",
		Statement: "Each new bpffs has pins of its own, which other bpffs do not show.",
		Source:    inodeSource + "bpf_get_tree",
		check: func(t *T) {
			fs, other := t.bpffs(), t.bpffs()
			m := t.counter(1)
			t.must(fs.pin(m, "map"), "pin")
			_, err := other.open("map", 0)
			t.fails("open in another bpffs", err, unix.ENOENT)
			t.must(other.pin(t.counter(2), "map"), "pin by the same name")
			equal(t, "id", t.mapID(fs.mustOpen("map")), t.mapID(m))
		},
	},
)

// bpffs is a bpffs in which a test pins objects.
type bpffs struct {
	t   *T
	dir string
}

// bpffs creates a bpffs that is mounted nowhere. It and its pins vanish when its descriptor is closed.
func (t *T) bpffs() bpffs {
	mount, err := t.k.mount("bpf")
	t.must(err, "create a bpffs")
	t.cleanup(func() { unix.Close(mount) })
	return bpffs{t, fmt.Sprintf("/proc/self/fd/%d", mount)}
}

func (f bpffs) path(name string) string { return filepath.Join(f.dir, name) }

// object is the member of union bpf_attr for BPF_OBJ_PIN and BPF_OBJ_GET.
type object struct {
	path      *byte
	fd, flags uint32
}

func (f bpffs) object(cmd int, o object, name string) (int, error) {
	path, err := unix.BytePtrFromString(f.path(name))
	f.t.must(err, "path")
	o.path = path
	return f.t.k.call(cmd, unsafe.Pointer(&o), unsafe.Sizeof(o))
}

// pin pins a map or a program.
func (f bpffs) pin(m interface{ FD() int }, name string) error {
	_, err := f.object(unix.BPF_OBJ_PIN, object{fd: uint32(m.FD())}, name)
	return err
}

func (f bpffs) open(name string, flags uint32) (*ebpf.Map, error) {
	fd, err := f.object(unix.BPF_OBJ_GET, object{flags: flags}, name)
	if err != nil {
		return nil, err
	}
	m, err := ebpf.NewMapFromFD(fd)
	if err == nil {
		f.t.cleanup(func() { m.Close() })
	}
	return m, err
}

func (f bpffs) mustOpen(name string) *ebpf.Map {
	m, err := f.open(name, 0)
	f.t.must(err, "open pin %q", name)
	return m
}

// counter creates an array whose only value is the u64 v.
func (t *T) counter(v uint64) *ebpf.Map {
	m := t.create(&ebpf.MapSpec{Name: "counter", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	t.must(m.Put(uint32(0), v), "update")
	return m
}

func (t *T) count(m *ebpf.Map) uint64 {
	var v uint64
	t.must(m.Lookup(uint32(0), &v), "lookup")
	return v
}

func (t *T) mapID(m *ebpf.Map) ebpf.MapID {
	info, err := m.Info()
	t.must(err, "ask for the map's id")
	id, _ := info.ID()
	return id
}

func mapExists(id ebpf.MapID) bool {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return false
	}
	m.Close()
	return true
}

// eventually waits until condition returns true, and ends the test if it does not within t.patience. It
// polls, since the kernel does not announce the end of a grace period or of a worker.
func (t *T) eventually(what string, condition func() bool) {
	for deadline := time.Now().Add(t.patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.differs("after %v not yet: %s", t.patience, what)
		}
	}
}

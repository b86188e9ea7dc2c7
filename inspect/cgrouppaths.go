package inspect

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// cgroupTarget describes an attach type in a cgroup.
func cgroupTarget(attach uint32, name string) string {
	return fmt.Sprintf("%s of cgroup %s", attachType(attach), name)
}

// cgroupName returns the path of a cgroup in its hierarchy, such as /system.slice/cron.service. root and dir are
// directories.
func cgroupName(root, dir string) string {
	return filepath.Join("/", strings.TrimPrefix(dir, root))
}

// cgroupPaths finds the paths of cgroups by their ids.
type cgroupPaths struct {
	path string
	root *os.File // nil if there is no cgroup2
}

func newCgroupPaths() *cgroupPaths {
	path, err := cgroup2Root()
	if err != nil {
		return &cgroupPaths{}
	}
	root, err := os.Open(path)
	if err != nil {
		return &cgroupPaths{}
	}
	return &cgroupPaths{path, root}
}

func (c *cgroupPaths) close() {
	if c.root != nil {
		c.root.Close()
	}
}

// name returns the path of the cgroup with the given id, or the id if there is no such cgroup in the hierarchy that
// is mounted here.
func (c *cgroupPaths) name(id uint64) string {
	if c.root != nil {
		if dir := c.find(id); dir != "" {
			return cgroupName(c.path, dir)
		}
	}
	return fmt.Sprint(id)
}

// kernfsHandle is the type of file handles whose 8 bytes are the id: FILEID_KERNFS, include/linux/exportfs.h. The id of
// a cgroup is that of its directory (include/linux/cgroup.h, cgroup_id).
const kernfsHandle = 0xfe

// find returns the directory of a cgroup, or "". Opening it by its id takes CAP_DAC_READ_SEARCH; without that, all
// directories are searched.
func (c *cgroupPaths) find(id uint64) string {
	handle := unix.NewFileHandle(kernfsHandle, binary.NativeEndian.AppendUint64(nil, id))
	fd, err := unix.OpenByHandleAt(int(c.root.Fd()), handle, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	switch err {
	case nil:
		defer unix.Close(fd)
		dir, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err != nil || dir != c.path && !strings.HasPrefix(dir, c.path+"/") {
			return "" // it lies outside of the mount, or was removed
		}
		return strings.TrimSuffix(dir, " (deleted)")
	case unix.ESTALE:
		return "" // it was removed
	}
	return c.search(id)
}

// maxCgroups bounds how many cgroups search visits.
const maxCgroups = 10_000

func (c *cgroupPaths) search(id uint64) (found string) {
	visited := 0
	_ = filepath.WalkDir(c.path, func(dir string, e os.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return nil
		}
		if visited++; visited > maxCgroups {
			return filepath.SkipAll
		}
		var st unix.Stat_t
		if unix.Stat(dir, &st) == nil && st.Ino == id {
			found = dir
			return filepath.SkipAll
		}
		return nil
	})
	return found
}

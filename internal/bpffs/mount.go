package bpffs

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// DefaultRoot is where systemd mounts a bpffs.
const DefaultRoot = "/sys/fs/bpf"

// Mounts returns the mount points of bpffs that this process can see, in mount order. It omits a mount whose
// files another mount shows too, so that no pin is reachable through two of the mount points.
func Mounts() ([]string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("find bpffs: %w", err)
	}
	var visible []mount
	for _, m := range parseMountinfo(string(text)) {
		// Skip m if a later mount covers it.
		if IsOn(m.path) {
			visible = append(visible, m)
		}
	}
	var paths []string
	for i, m := range visible {
		shown := slices.ContainsFunc(visible[:i], m.partOf) ||
			slices.ContainsFunc(visible[i+1:], func(o mount) bool { return m.partOf(o) && m.root != o.root })
		if !shown && !slices.Contains(paths, m.path) {
			paths = append(paths, m.path)
		}
	}
	return paths, nil
}

// Default returns the directory to pin to by default: the first of [Roots], or [ErrNotMounted].
func Default() (string, error) {
	roots, err := Roots()
	if err != nil {
		return "", err
	}
	if len(roots) == 0 {
		return "", fmt.Errorf("find bpffs: %w", ErrNotMounted)
	}
	return roots[0], nil
}

// Roots returns [Mounts], with [DefaultRoot] first if a bpffs is mounted there.
func Roots() ([]string, error) {
	mounts, err := Mounts()
	if IsOn(DefaultRoot) {
		others := slices.DeleteFunc(mounts, func(path string) bool { return path == DefaultRoot })
		return append([]string{DefaultRoot}, others...), nil
	}
	return mounts, err
}

// Mount mounts a bpffs on dir, an existing directory, with mode 0700 as systemd does. It does nothing
// if dir is on a bpffs. The mount outlives the process. It needs CAP_SYS_ADMIN.
func Mount(dir string) error {
	on, err := onBPFFS(dir)
	if err == nil && !on {
		err = unix.Mount("bpf", dir, "bpf", unix.MS_NOSUID|unix.MS_NOEXEC|unix.MS_NODEV, "mode=0700")
	}
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("mount bpffs on %q: %w (needs CAP_SYS_ADMIN)", dir, unix.EPERM)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("mount bpffs on %q: %w (the kernel has no bpffs)", dir, unix.ENODEV)
	case err != nil:
		return fmt.Errorf("mount bpffs on %q: %w", dir, err)
	}
	return nil
}

// onBPFFS reports whether the file at path is on a bpffs. It follows symbolic links.
func onBPFFS(path string) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return false, err
	}
	return st.Type == unix.BPF_FS_MAGIC, nil
}

// IsOn reports whether there is a file at path, and it is on a bpffs. IsOn follows symbolic links.
func IsOn(path string) bool {
	on, err := onBPFFS(path)
	return on && err == nil
}

// Contains reports whether the file of a descriptor is on a bpffs.
func Contains(fd int) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return false, err
	}
	return st.Type == unix.BPF_FS_MAGIC, nil
}

// mount is a bpffs in the mount table.
type mount struct {
	device string // major:minor
	root   string // the directory of the file system mounted at path
	path   string
}

// partOf reports whether every file of m is also reachable through o.
func (m mount) partOf(o mount) bool {
	return m.device == o.device && (m.root == o.root || strings.HasPrefix(m.root, strings.TrimSuffix(o.root, "/")+"/"))
}

// parseMountinfo returns the bpffs mounts in the text of /proc/PID/mountinfo. Its lines are
// (fs/proc_namespace.c, show_mountinfo)
//
//	36 35 98:0 /root /mount/point rw,noatime master:1 - bpf source rw,mode=700
//
// with any number of fields before the dash.
func parseMountinfo(text string) []mount {
	var mounts []mount
	for line := range strings.Lines(text) {
		place, source, ok := strings.Cut(line, " - ")
		fields := strings.Fields(place)
		if !ok || len(fields) < 6 {
			continue
		}
		if fstype, _, _ := strings.Cut(source, " "); fstype != "bpf" {
			continue
		}
		mounts = append(mounts, mount{device: fields[2], root: unescape(fields[3]), path: unescape(fields[4])})
	}
	return mounts
}

// unescape reverses mangle_path (fs/seq_file.c), which writes space, tab, newline and backslash as a
// backslash and three octal digits.
func unescape(s string) string {
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(s, `\`)
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		if len(after) >= 3 {
			if c, err := strconv.ParseUint(after[:3], 8, 8); err == nil {
				b.WriteByte(byte(c))
				s = after[3:]
				continue
			}
		}
		b.WriteByte('\\')
		s = after
	}
}

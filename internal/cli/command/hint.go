package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpffs"
	"github.com/rbtool/rbtool/pin"
)

// hintFor returns a hint on what to do about err, or "" if there is none.
func hintFor(err error) string {
	if h, ok := errors.AsType[*hintError](err); ok {
		return h.hint
	}
	if withoutProc(err) {
		return "mount one: mount -t proc proc /proc"
	}
	if hint := mapHint(err); hint != "" {
		return hint
	}
	switch {
	case errors.Is(err, pin.ErrNotBPFFS), errors.Is(err, bpffs.ErrNotMounted):
		return mountHint()
	case errors.Is(err, pin.ErrUnsafe):
		return "use a directory that belongs to you or root and is sticky (chmod +t) or not writable for others"
	case errors.Is(err, pin.ErrName):
		return "choose another name: letters, digits, _ and -"
	case errors.Is(err, pin.ErrNotPin):
		return "give a pin: rbtool ls lists them"
	case fileHint(err) != "":
		return fileHint(err)
	case errors.Is(err, fs.ErrExist):
		return "choose another path, or remove the pin there: rbtool unpin PATH"
	case StatusOf(err) == StatusUnable && errors.Is(err, fs.ErrPermission) && !byMode(err):
		return privilegeHint()
	}
	return ""
}

// fileHint returns a hint for a file, not a pin, that cannot be opened, or "".
func fileHint(err error) string {
	file, ok := errors.AsType[*fs.PathError](err)
	switch {
	case !ok:
		return ""
	case errors.Is(err, fs.ErrNotExist) && filepath.IsLocal(file.Path):
		if dir, err := os.Getwd(); err == nil {
			return "the working directory is " + dir
		}
	case errors.Is(err, fs.ErrNotExist):
		dir := filepath.Dir(file.Path)
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return "there is no directory " + dir + ": mkdir -p makes one"
		}
		return "ls " + dir
	case errors.Is(err, fs.ErrExist):
		return "choose another file"
	case bpffs.IsOn(filepath.Dir(file.Path)):
		return "a bpffs holds only pins: choose a file elsewhere"
	}
	return ""
}

// fileOnBPFFS reports whether err is due to a file that cannot be created because a bpffs only has pins.
func fileOnBPFFS(err error) bool {
	file, ok := errors.AsType[*fs.PathError](err)
	if !ok || file.Op != "open" || !bpffs.IsOn(filepath.Dir(file.Path)) {
		return false
	}
	_, err = os.Lstat(file.Path)
	return errors.Is(err, fs.ErrNotExist)
}

// byMode reports whether err is due to a file's permission bits.
func byMode(err error) bool {
	_, ofFile := errors.AsType[*fs.PathError](err)
	return errors.Is(err, bpffs.ErrMode) || ofFile && errors.Is(err, unix.EACCES)
}

// privilegeHint names the capabilities that rbtool's commands need and this process lacks. It returns ""
// if the process has all of them: then the kernel has another reason to refuse, such as lockdown.
func privilegeHint() string {
	var lacked []string
	for _, c := range []struct {
		name string
		bit  int
	}{
		{"CAP_BPF", unix.CAP_BPF}, {"CAP_PERFMON", unix.CAP_PERFMON},
		{"CAP_NET_ADMIN", unix.CAP_NET_ADMIN}, {"CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN},
	} {
		if Lacks(c.bit) {
			lacked = append(lacked, c.name)
		}
	}
	if len(lacked) == 0 {
		return ""
	}
	return "run as root, or with CAP_BPF and CAP_PERFMON (CAP_SYS_ADMIN for maps by id or name, " +
		"CAP_NET_ADMIN for arena serve); this process lacks " + strings.Join(lacked, ", ")
}

// Lacks reports whether this process lacks a capability (a unix.CAP constant). It returns false if the
// kernel does not tell the capabilities.
func Lacks(capability int) bool {
	var data [2]unix.CapUserData // version 3 has 64 bits in two words
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[capability/32].Effective>>(capability%32)&1 == 0
}

// withoutProc reports whether err is due to a missing /proc.
func withoutProc(err error) bool {
	file, ok := errors.AsType[*fs.PathError](err)
	return ok && errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(file.Path, "/proc/self/")
}

// mountHint says where a bpffs is mounted, or how to mount one.
func mountHint() string {
	if root, err := bpffs.Default(); err == nil {
		return fmt.Sprintf("a bpffs is mounted on %s: use a path below it", root)
	}
	return "mount one: mount -t bpf bpf " + bpffs.DefaultRoot
}

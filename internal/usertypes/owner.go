package usertypes

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// owner is the user whose rights are used for the file.
type owner struct{ uid, gid uint32 }

// configDir returns the directory of the user's configuration, and its owner if that is not the user of the process.
func configDir() (string, *owner, error) {
	if os.Geteuid() != 0 {
		dir, err := os.UserConfigDir()
		return dir, nil, err
	}
	if id := os.Getenv("SUDO_UID"); id != "" && id != "0" {
		return sudoDir(id)
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", nil, err
	}
	return dir, ownerOf(dir), nil
}

// sudoDir returns the directory of the user with the given id, who called sudo.
func sudoDir(id string) (string, *owner, error) {
	u, err := user.LookupId(id)
	if err != nil {
		return "", nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return "", nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return "", nil, err
	}
	if !filepath.IsAbs(u.HomeDir) {
		return "", nil, fmt.Errorf("user %s has no home directory", u.Username)
	}
	return filepath.Join(u.HomeDir, ".config"), &owner{uint32(uid), uint32(gid)}, nil
}

// ownerOf returns the first owner other than root of a directory on the way to dir, or nil. This user decides where
// the path leads.
func ownerOf(dir string) *owner {
	path := "/"
	for part := range strings.SplitSeq(filepath.Clean(dir), "/") {
		path = filepath.Join(path, part)
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil {
			return nil // it does not exist: nobody has decided
		}
		if st.Uid != 0 {
			return &owner{st.Uid, st.Gid}
		}
	}
	return nil
}

// do calls f with the rights of o for files. It runs f on a thread of its own, which ends afterwards.
func (o *owner) do(f func() error) error {
	if o == nil {
		return f()
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := o.assume(); err != nil {
			done <- err
			return
		}
		done <- f()
	}()
	return <-done
}

var errRights = errors.New("the process may not act with the rights of another user")

// assume gives the thread the rights of o for files, without other groups. setfsuid(2) also takes away the capabilities that override
// permissions of files (kernel/sys.c, __sys_setfsuid).
func (o *owner) assume() error {
	if _, _, errno := syscall.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 {
		return fmt.Errorf("uid %d: %w: %w", o.uid, errRights, errno)
	}
	const none = ^uintptr(0) // changes nothing: the call returns the current id
	syscall.RawSyscall(unix.SYS_SETFSGID, uintptr(o.gid), 0, 0)
	syscall.RawSyscall(unix.SYS_SETFSUID, uintptr(o.uid), 0, 0)
	fsgid, _, _ := syscall.RawSyscall(unix.SYS_SETFSGID, none, 0, 0)
	fsuid, _, _ := syscall.RawSyscall(unix.SYS_SETFSUID, none, 0, 0)
	if uint32(fsgid) != o.gid || uint32(fsuid) != o.uid {
		return fmt.Errorf("uid %d: %w", o.uid, errRights)
	}
	return nil
}

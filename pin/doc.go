// Package pin keeps maps, programs and links alive on bpffs, the file system
// whose entries are BPF objects, and finds them there again.
//
// The smallest use:
//
//	if err := pin.Map(events, "/sys/fs/bpf/app/events", pin.Options{}); err != nil {
//		return err
//	}
//
// and in another process
//
//	events, err := pin.Open("/sys/fs/bpf/app/events", ebpf.RingBuf)
//
// An object may have any number of pins. Closing it leaves them alone; only
// [Remove] or rm(1) takes a pin away. The package works on descriptors of its own:
// what cilium/ebpf remembers about a pin in an object (IsPinned, Unpin, and
// that a second Pin moves the first) stays untouched.
//
// A bpffs has mode 1777 by default: anyone may make directories and symbolic links there. So every
// path is resolved once, to a handle (O_PATH). Functions refuse directories that users other than the
// caller and root can change, and symbolic links of such users: [ErrUnsafe]. A pin has its mode before
// it is visible.
//
// Nothing is mounted unless [Mount] is called. All functions may be called by
// many goroutines at once.
//
// Messages name the path, and the reason in words; the kernel's errno stays
// reachable by [errors.Is], as [fs.ErrExist], [fs.ErrNotExist] and
// [fs.ErrPermission] do.
package pin

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/explain"
)

var (
	// ErrNotBPFFS says that a path lies on another file system. Only a bpffs
	// can hold a pin; see [Mount].
	ErrNotBPFFS = errors.New("not on a bpffs")

	// ErrNotMounted says that no bpffs is mounted.
	ErrNotMounted = errors.New("no bpffs is mounted")

	// ErrName says that bpffs takes no entry of this name: it has a dot in it
	// or is longer than 255 bytes.
	ErrName = errors.New("not a name for a pin")

	// ErrMode says that the mode of a path, or of a directory above it, does not allow what was
	// asked for. It is [fs.ErrPermission].
	ErrMode = explain.Error(unix.EACCES, "permission denied (by the mode of the path or of a directory above it)")

	// ErrUnsafe says that a user other than the caller and root could replace a pin: a directory
	// above it, below the root of the bpffs, belongs to such a user, or is writable for others and
	// not sticky; or the path has a symbolic link of such a user.
	ErrUnsafe = errors.New("not safe from other users")

	// ErrWrongType says that a pin holds something else than was asked for.
	ErrWrongType = errors.New("wrong type")

	// ErrNotPin says that an entry of a bpffs is a directory or a symbolic
	// link, which holds no object.
	ErrNotPin = errors.New("not a pin")
)

// reason is what stands after "verb object: " in a message. It takes err out of
// what the os package and cilium/ebpf put around it, since the message names
// the path already.
func reason(err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return err
	}
	if errno == unix.EACCES {
		return ErrMode
	}
	return errno
}

// bpfReason is reason for an error of BPF_OBJ_PIN and BPF_OBJ_GET.
func bpfReason(err error) error {
	if file, ok := errors.AsType[*fs.PathError](err); ok {
		return file // of /proc, where cilium/ebpf reads what the kernel says of a map
	}
	if errors.Is(err, unix.EPERM) {
		return explain.Error(unix.EPERM, "operation not permitted (needs CAP_BPF on this kernel)")
	}
	return reason(err)
}

// missing reports whether err says that a path leads nowhere.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

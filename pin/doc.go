// Package pin keeps maps, programs and links alive on bpffs, the file system
// whose entries are BPF objects, and opens them from there.
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
// An object can have any number of pins. Closing the object does not remove them;
// [Remove] or rm(1) does. The package works on descriptors of its own, so
// cilium/ebpf's record of an object's pin (IsPinned, Unpin, and that a second Pin
// moves the first) does not change.
//
// A path is absolute or relative to the working directory, and must lie on a mounted
// bpffs; systemd mounts one on /sys/fs/bpf. The package mounts nothing.
//
// # Other users
//
// A bpffs has mode 1777 by default: any user can create directories and symbolic links
// there. So functions resolve a path once, to a handle (O_PATH). They refuse directories
// that users other than the caller and root can change, and symbolic links of such users:
// [ErrUnsafe]. A pin has its mode before it is visible.
//
// # Concurrency and errors
//
// Any number of goroutines can call all functions at once.
//
// A message names the path and the reason in words. The kernel's errno stays
// reachable by [errors.Is]: [fs.ErrExist], [fs.ErrNotExist] and [fs.ErrPermission] match.
package pin

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/bpffs"
	"github.com/rbtool/rbtool/internal/explain"
	"github.com/rbtool/rbtool/internal/maptype"
)

var (
	// ErrNotBPFFS reports that a path lies on another file system.
	ErrNotBPFFS = bpffs.ErrNotBPFFS

	// ErrName reports that bpffs accepts no entry of this name: it contains a dot
	// or is longer than 255 bytes.
	ErrName = bpffs.ErrName

	// ErrUnsafe reports that a user other than the caller and root could replace a pin: a directory
	// above it, below the root of the bpffs, belongs to such a user, or is writable for others and
	// not sticky; or the path has a symbolic link of such a user.
	ErrUnsafe = bpffs.ErrUnsafe

	// ErrWrongType reports that a pin holds another kind of object, or a map of another type, than
	// the caller wants.
	ErrWrongType = maptype.ErrWrong

	// ErrNotPin reports that an entry of a bpffs is a directory or a symbolic
	// link, which holds no object.
	ErrNotPin = bpffs.ErrNotPin
)

// reason is [bpffs.Reason] for an error of BPF_OBJ_PIN and BPF_OBJ_GET.
func reason(err error) error {
	if file, ok := errors.AsType[*fs.PathError](err); ok {
		return file // of /proc, where cilium/ebpf reads a map's properties
	}
	if errors.Is(err, unix.EPERM) {
		return explain.Error(unix.EPERM, "operation not permitted (needs CAP_BPF on this kernel)")
	}
	return bpffs.Reason(err)
}

// isMissing reports whether err means that a path does not exist.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

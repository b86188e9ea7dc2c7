// Package pin keeps maps, programs and links alive on bpffs, the file system
// whose entries are BPF objects, and opens maps from there.
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
// [Remove] or rm(1) does. The package works on descriptors of its own, so it does not
// change cilium/ebpf's record of an object's pin, which IsPinned, Unpin and Pin use.
// [Walk] lists pins. To open a pinned program or link, use cilium/ebpf.
//
// A path is absolute or relative to the working directory, and must be on a mounted
// bpffs; systemd mounts one on /sys/fs/bpf. The package mounts nothing.
//
// # Other users
//
// A bpffs has mode 1777 by default: any user can create directories and symbolic links
// there. So functions resolve a path once, to a handle (O_PATH). All except [Walk] refuse, with
// [ErrUnsafe], symbolic links on the bpffs that users other than the caller and root own.
// Functions that pin also refuse directories that such users can change. [Open] and [Remove] do
// not: they trust what is in a directory. The mode of a pin is set before the pin becomes
// visible.
//
// # Concurrency and errors
//
// Any number of goroutines can call all functions at once.
//
// The text of an error names the path and explains the reason. The error matches, by
// [errors.Is], the errors below, the kernel's errno, and [fs.ErrExist], [fs.ErrNotExist] and
// [fs.ErrPermission] where they apply.
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
	// ErrNotBPFFS reports that a path is not on a bpffs.
	ErrNotBPFFS = bpffs.ErrNotBPFFS

	// ErrName reports a name that bpffs does not accept: it contains a dot, is longer than 255
	// bytes, or is empty.
	ErrName = bpffs.ErrName

	// ErrUnsafe reports that a user other than the caller and root could replace a pin. Either a
	// directory between the root of the bpffs and the pin belongs to such a user, or is writable
	// by others and not sticky; or such a user owns a symbolic link on the bpffs in the path.
	ErrUnsafe = bpffs.ErrUnsafe

	// ErrWrongType reports that a pinned object is of another kind than the caller wants, or a map
	// of another type.
	ErrWrongType = maptype.ErrWrong

	// ErrNotPin reports that an entry of a bpffs is a directory or a symbolic link, not a pin.
	ErrNotPin = bpffs.ErrNotPin
)

// reason is [bpffs.Reason] for an error of BPF_OBJ_PIN and BPF_OBJ_GET.
func reason(err error) error {
	if proc, ok := errors.AsType[*fs.PathError](err); ok {
		return proc // cilium/ebpf reads the properties of a map from a file in /proc, not from the pin
	}
	if errors.Is(err, unix.EPERM) {
		return explain.Error(unix.EPERM, "operation not permitted (needs CAP_BPF on this kernel)")
	}
	return bpffs.Reason(err)
}

// isMissing reports whether err means that a path does not exist.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

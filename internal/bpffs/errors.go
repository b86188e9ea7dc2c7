// Package bpffs finds mounts of bpffs and resolves paths on them safely.
//
// A bpffs has mode 1777 by default: any user can create directories and symbolic links there. So
// [Resolve] walks a path once, by handles (O_PATH), and refuses directories and links that other users can
// change. Package pin creates and opens pins relative to the handles; no path is resolved twice.
package bpffs

import (
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/explain"
)

var (
	// ErrNotMounted reports that no bpffs is mounted.
	ErrNotMounted = errors.New("no bpffs is mounted")

	// ErrMode reports that the mode of a path, or of a directory above it, denies access. It matches
	// [fs.ErrPermission].
	ErrMode = explain.Error(unix.EACCES, "permission denied (by the mode of the path or of a directory above it)")

	// Package pin exports and documents the errors below.

	ErrNotBPFFS = errors.New("not on a bpffs")
	ErrName     = errors.New("not a name for a pin")
	ErrUnsafe   = errors.New("not safe from other users")
	ErrNotPin   = errors.New("not a pin")
)

// Reason returns the errno in err, without the path that the os package and cilium/ebpf add, because callers
// add the path themselves. It returns an error without an errno unchanged.
func Reason(err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return err
	}
	if errno == unix.EACCES {
		return ErrMode
	}
	return errno
}

// isMissing reports whether err means that a path does not exist.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// Package command holds what the families of rbtool's subcommands share: flag values, output, errors
// and the exit statuses that they lead to.
package command

import (
	"context"
	"errors"
	"io/fs"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/pin"
)

// Exit statuses. Scripts rely on them: they do not change.
const (
	StatusDone        = 0
	StatusFailed      = 1 // because of the machine's state
	StatusUsage       = 2 // wrong on any machine
	StatusUnable      = 3 // the kernel or the privileges do not allow it
	StatusNotFound    = 4
	StatusBusy        = 5 // would disturb another process
	StatusInterrupted = 130
	StatusQuit        = 131 // by SIGQUIT
)

// statuses gives the exit status of an error that matches a sentinel. The first match counts.
var statuses = []struct {
	is     error
	status int
}{
	{context.Canceled, StatusInterrupted},
	{consumer.ErrBusy, StatusBusy}, // and userprod.ErrBusy, which is the same
	{inspect.ErrUnseen, StatusBusy},
	{inspect.ErrReference, StatusUsage},
	{fs.ErrNotExist, StatusNotFound}, // also matched by every ErrNotFound
	{pin.ErrName, StatusFailed},      // also matches fs.ErrPermission
	{pin.ErrNotPin, StatusFailed},
	{ebpf.ErrNotSupported, StatusUnable},
	{fs.ErrPermission, StatusUnable},
}

// StatusOf returns the exit status for err: the one that [WithStatus] gave it, or else that of the
// sentinel that it matches.
func StatusOf(err error) int {
	if err == nil {
		return StatusDone
	}
	if s, ok := errors.AsType[*statusError](err); ok {
		return s.status
	}
	for _, s := range statuses {
		if !errors.Is(err, s.is) {
			continue
		}
		if s.status == StatusNotFound && withoutProc(err) {
			return StatusFailed // what the user named may well exist
		}
		return s.status
	}
	return StatusFailed
}

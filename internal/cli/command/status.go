// Package command provides what the packages of rbtool's subcommands share: types of flags, output,
// errors and exit statuses.
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

// Exit statuses. Scripts rely on them: they must not change.
const (
	StatusDone        = 0
	StatusFailed      = 1 // the command failed because of the machine's state
	StatusUsage       = 2 // the command line is wrong on any machine
	StatusUnable      = 3 // the kernel lacks a feature, or the process a privilege
	StatusNotFound    = 4
	StatusBusy        = 5 // the command would disturb another process
	StatusInterrupted = 130
	StatusQuit        = 131 // SIGQUIT ended the command
)

// statuses has the exit status for errors that match a sentinel. The first match counts.
var statuses = []struct {
	is     error
	status int
}{
	{context.Canceled, StatusInterrupted},
	{consumer.ErrBusy, StatusBusy}, // userprod.ErrBusy is the same error
	{inspect.ErrUnseen, StatusBusy},
	{inspect.ErrReference, StatusUsage},
	{fs.ErrNotExist, StatusNotFound}, // every ErrNotFound matches it too
	{pin.ErrName, StatusFailed},      // matches fs.ErrPermission too
	{pin.ErrNotPin, StatusFailed},
	{ebpf.ErrNotSupported, StatusUnable},
	{fs.ErrPermission, StatusUnable},
}

// StatusOf returns the exit status for err: the status given to [WithStatus], otherwise that of the first
// sentinel in statuses that err matches, otherwise StatusFailed.
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
			return StatusFailed // /proc is missing, but the object that the user named may exist
		}
		if s.status == StatusUnable && fileOnBPFFS(err) {
			return StatusFailed // no privilege allows files there
		}
		return s.status
	}
	return StatusFailed
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/inspect"
	"github.com/rbtool/rbtool/internal/escape"
	"github.com/rbtool/rbtool/pin"
	"github.com/rbtool/rbtool/userprod"
)

// Exit statuses, an interface that scripts rely on.
const (
	statusDone        = 0
	statusFailed      = 1 // depends on the machine's state
	statusUsage       = 2 // wrong whatever the machine's state
	statusUnable      = 3 // the kernel or the privileges do not allow it
	statusNotFound    = 4
	statusBusy        = 5 // would disturb another process
	statusInterrupted = 130
	statusQuit        = 131 // by SIGQUIT
)

// failure is an error with a status or a hint that its cause does not imply.
type failure struct {
	err    error
	status int // 0: what the cause implies
	hint   string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// usagef is an error in the command line.
func usagef(format string, args ...any) error {
	return &failure{err: fmt.Errorf(format, args...), status: statusUsage}
}

// withHint gives err a hint.
func withHint(err error, format string, args ...any) error {
	return &failure{err: err, hint: fmt.Sprintf(format, args...)}
}

// printError writes a line for each error that was joined into err, and a line for its hint, if it
// has one. Unprintable characters are escaped.
func printError(w io.Writer, err error) {
	for _, err := range each(err) {
		fmt.Fprintf(w, "rbtool: %s\n", escape.String(err.Error()))
		if hint := hintFor(err); hint != "" {
			fmt.Fprintf(w, "hint: %s\n", escape.String(hint))
		}
	}
}

// statusOf is the exit status for err.
func statusOf(err error) int {
	if f, ok := errors.AsType[*failure](err); ok && f.status != 0 {
		return f.status
	}
	switch {
	case errors.Is(err, context.Canceled):
		return statusInterrupted
	case errors.Is(err, consumer.ErrBusy), errors.Is(err, userprod.ErrBusy), errors.Is(err, userprod.ErrUnseen):
		return statusBusy
	case errors.Is(err, inspect.ErrReference):
		return statusUsage
	case withoutProc(err):
		return statusFailed
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, decode.ErrNotFound), errors.Is(err, arena.ErrNotFound):
		return statusNotFound
	case errors.Is(err, pin.ErrName), errors.Is(err, pin.ErrNotPin):
		return statusFailed // which the kernel says with EPERM too
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, fs.ErrPermission):
		return statusUnable
	}
	return statusFailed
}

// hintFor is what to do about err, where that is known.
func hintFor(err error) string {
	if f, ok := errors.AsType[*failure](err); ok && f.hint != "" {
		return f.hint
	}
	switch {
	case errors.Is(err, pin.ErrNotBPFFS), errors.Is(err, pin.ErrNotMounted):
		return mountHint()
	case errors.Is(err, pin.ErrUnsafe):
		return "use a directory that belongs to you or root and is sticky (chmod +t) or not writable for others"
	case withoutProc(err):
		return "mount one: mount -t proc proc /proc"
	case statusOf(err) == statusUnable && errors.Is(err, fs.ErrPermission) && !byMode(err):
		return privilegeHint()
	}
	return ""
}

// byMode reports whether the mode of a file caused err.
func byMode(err error) bool {
	_, ofFile := errors.AsType[*fs.PathError](err)
	return errors.Is(err, pin.ErrMode) || ofFile && errors.Is(err, unix.EACCES)
}

// privilegeHint names the capabilities that commands need and this process lacks. It is empty if
// none is lacking: then the kernel has another reason, such as lockdown.
func privilegeHint() string {
	var lacked []string
	for _, c := range []struct {
		name string
		bit  int
	}{
		{"CAP_BPF", unix.CAP_BPF}, {"CAP_PERFMON", unix.CAP_PERFMON},
		{"CAP_NET_ADMIN", unix.CAP_NET_ADMIN}, {"CAP_SYS_ADMIN", unix.CAP_SYS_ADMIN},
	} {
		if lacks(c.bit) {
			lacked = append(lacked, c.name)
		}
	}
	if len(lacked) == 0 {
		return ""
	}
	return "run as root, or with CAP_BPF and CAP_PERFMON (CAP_SYS_ADMIN for maps by id or name, " +
		"CAP_NET_ADMIN for arena serve); this process lacks " + strings.Join(lacked, ", ")
}

// lacks reports whether this process is known to lack a capability.
func lacks(capability int) bool {
	var data [2]unix.CapUserData // 64 bits in version 3
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[capability/32].Effective>>(capability%32)&1 == 0
}

// withoutProc reports whether err comes of a /proc that is not there.
func withoutProc(err error) bool {
	file, ok := errors.AsType[*fs.PathError](err)
	return ok && errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(file.Path, "/proc/self/")
}

func mountHint() string {
	if root, err := pin.Default(); err == nil {
		return fmt.Sprintf("a bpffs is mounted on %s: use a path below it", root)
	}
	return "mount one: mount -t bpf bpf " + pin.DefaultRoot
}

// each returns the errors that were joined into err, one for each line, with what was said
// before them of all; or err. A hint for all is one for the last.
func each(err error) []error {
	hint := ""
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		if f, ok := inner.(*failure); ok {
			hint = cmp.Or(hint, f.hint)
		}
		joined, ok := inner.(interface{ Unwrap() []error })
		if !ok {
			continue
		}
		errs, about := joined.Unwrap(), strings.TrimSuffix(err.Error(), inner.Error())
		if len(errs) < 2 || strings.Count(err.Error(), "\n") != len(errs)-1 {
			break
		}
		var lines []error
		for _, e := range errs {
			lines = append(lines, fmt.Errorf("%s%w", about, e))
		}
		if hint != "" {
			lines[len(lines)-1] = &failure{err: lines[len(lines)-1], hint: hint}
		}
		return lines
	}
	return []error{err}
}

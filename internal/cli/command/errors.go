// Package command has what the families of rbtool's subcommands share: flag values, output, errors and
// the exit statuses that they lead to.
package command

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
	StatusDone        = 0
	StatusFailed      = 1 // depends on the machine's state
	StatusUsage       = 2 // wrong whatever the machine's state
	StatusUnable      = 3 // the kernel or the privileges do not allow it
	StatusNotFound    = 4
	StatusBusy        = 5 // would disturb another process
	StatusInterrupted = 130
	StatusQuit        = 131 // by SIGQUIT
)

// failure is an error with a status or a hint that its cause does not imply.
type Failure struct {
	Err    error
	Status int // 0: what the cause implies
	Hint   string
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// usagef is an error in the command line.
func Usagef(format string, args ...any) error {
	return &Failure{Err: fmt.Errorf(format, args...), Status: StatusUsage}
}

// withHint gives err a hint.
func WithHint(err error, format string, args ...any) error {
	return &Failure{Err: err, Hint: fmt.Sprintf(format, args...)}
}

// printError writes a line for each error that was joined into err, and a line for its hint, if it
// has one. Unprintable characters are escaped.
func PrintError(w io.Writer, err error) {
	for _, err := range each(err) {
		fmt.Fprintf(w, "rbtool: %s\n", escape.String(err.Error()))
		if hint := hintFor(err); hint != "" {
			fmt.Fprintf(w, "hint: %s\n", escape.String(hint))
		}
	}
}

// statusOf is the exit status for err.
func StatusOf(err error) int {
	if f, ok := errors.AsType[*Failure](err); ok && f.Status != 0 {
		return f.Status
	}
	switch {
	case errors.Is(err, context.Canceled):
		return StatusInterrupted
	case errors.Is(err, consumer.ErrBusy), errors.Is(err, userprod.ErrBusy), errors.Is(err, userprod.ErrUnseen):
		return StatusBusy
	case errors.Is(err, inspect.ErrReference):
		return StatusUsage
	case withoutProc(err):
		return StatusFailed
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, decode.ErrNotFound), errors.Is(err, arena.ErrNotFound):
		return StatusNotFound
	case errors.Is(err, pin.ErrName), errors.Is(err, pin.ErrNotPin):
		return StatusFailed // which the kernel says with EPERM too
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, fs.ErrPermission):
		return StatusUnable
	}
	return StatusFailed
}

// hintFor is what to do about err, where that is known.
func hintFor(err error) string {
	if f, ok := errors.AsType[*Failure](err); ok && f.Hint != "" {
		return f.Hint
	}
	switch {
	case errors.Is(err, pin.ErrNotBPFFS), errors.Is(err, pin.ErrNotMounted):
		return mountHint()
	case errors.Is(err, pin.ErrUnsafe):
		return "use a directory that belongs to you or root and is sticky (chmod +t) or not writable for others"
	case withoutProc(err):
		return "mount one: mount -t proc proc /proc"
	case StatusOf(err) == StatusUnable && errors.Is(err, fs.ErrPermission) && !byMode(err):
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

// lacks reports whether this process is known to lack a capability.
func Lacks(capability int) bool {
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
		if f, ok := inner.(*Failure); ok {
			hint = cmp.Or(hint, f.Hint)
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
			lines[len(lines)-1] = &Failure{Err: lines[len(lines)-1], Hint: hint}
		}
		return lines
	}
	return []error{err}
}

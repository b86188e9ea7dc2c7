package command

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/escape"
)

// statusError is an error with the exit status to which it leads, whatever its cause.
type statusError struct {
	error
	status int
}

func (e *statusError) Unwrap() error { return e.error }

// hintError is an error with a hint: what to do about it.
type hintError struct {
	error
	hint string
}

func (e *hintError) Unwrap() error { return e.error }

// WithStatus wraps err so that rbtool exits with status. See [StatusOf].
func WithStatus(err error, status int) error { return &statusError{err, status} }

// WithHint gives err a hint, which [PrintError] prints below it.
func WithHint(err error, format string, args ...any) error {
	return &hintError{err, fmt.Sprintf(format, args...)}
}

// printedError is an error that the command has printed already.
type printedError struct{ error }

func (e *printedError) Unwrap() error { return e.error }

// Printed wraps err, which the command has printed by [PrintError] before other output: only its exit status is left to
// report.
func Printed(err error) error { return &printedError{err} }

// HasHint reports whether [PrintError] prints a hint below err.
func HasHint(err error) bool { return hintFor(err) != "" }

// Usagef returns an error in the command line.
func Usagef(format string, args ...any) error {
	return WithStatus(fmt.Errorf(format, args...), StatusUsage)
}

// PrintError writes err on a line, and its hint, if any, on the next. It writes each error of an
// [errors.Join] on its own line. It escapes unprintable characters.
func PrintError(w io.Writer, err error) {
	for _, err := range split(err) {
		if _, printed := errors.AsType[*printedError](err); printed {
			continue
		}
		fmt.Fprintf(w, "rbtool: %s\n", escape.String(explainMemlock(err.Error())))
		if hint := hintFor(err); hint != "" {
			fmt.Fprintf(w, "hint: %s\n", escape.String(hint))
		}
	}
}

// memlock is what cilium/ebpf adds to EPERM, for whatever reason, to users of its API.
const memlock = " (MEMLOCK may be too low, consider rlimit.RemoveMemlock)"

// explainMemlock replaces it in the text of an error. Without CAP_BPF, the privilege is missing first.
func explainMemlock(text string) string {
	limit := ""
	if !Lacks(unix.CAP_BPF) {
		limit = " (before Linux 5.11, maybe RLIMIT_MEMLOCK is too low: ulimit -l)"
	}
	return strings.ReplaceAll(text, memlock, limit)
}

// split returns the errors in an [errors.Join] that err contains, each prefixed with err's text before
// the join. The last one gets the hint of err. Without a join, split returns only err.
func split(err error) []error {
	hint := ""
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		if h, ok := inner.(*hintError); ok {
			hint = cmp.Or(hint, h.hint)
		}
		parts := joined(inner)
		prefix, ok := strings.CutSuffix(err.Error(), inner.Error())
		if parts == nil || !ok {
			continue
		}
		var lines []error
		for _, part := range parts {
			lines = append(lines, split(fmt.Errorf("%s%w", prefix, part))...)
		}
		if last := len(lines) - 1; hint != "" {
			lines[last] = &hintError{lines[last], hint}
		}
		return lines
	}
	return []error{err}
}

// joined returns the errors in err if it is an [errors.Join], otherwise nil.
func joined(err error) []error {
	several, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	parts := several.Unwrap()
	if errors.Join(parts...).Error() != err.Error() { // an error of fmt.Errorf with several %w
		return nil
	}
	return parts
}

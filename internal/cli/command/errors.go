package command

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/rbtool/rbtool/internal/escape"
)

// statusError is an error with an exit status that its cause does not imply.
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

// WithStatus gives err an exit status that its cause does not imply.
func WithStatus(err error, status int) error { return &statusError{err, status} }

// WithHint gives err a hint, which [PrintError] prints below it.
func WithHint(err error, format string, args ...any) error {
	return &hintError{err, fmt.Sprintf(format, args...)}
}

// Usagef returns an error in the command line.
func Usagef(format string, args ...any) error {
	return WithStatus(fmt.Errorf(format, args...), StatusUsage)
}

// PrintError writes err and its hint, if it has one, on a line each. The errors of an [errors.Join]
// have lines of their own. Unprintable characters are escaped.
func PrintError(w io.Writer, err error) {
	for _, err := range split(err) {
		fmt.Fprintf(w, "rbtool: %s\n", escape.String(err.Error()))
		if hint := hintFor(err); hint != "" {
			fmt.Fprintf(w, "hint: %s\n", escape.String(hint))
		}
	}
}

// split returns the errors of an [errors.Join] in err, each with the text before the join as its
// prefix; or err alone. A hint for the join goes to the last of them.
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

// joined returns the errors in an [errors.Join], or nil if err is something else.
func joined(err error) []error {
	several, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	parts := several.Unwrap()
	if errors.Join(parts...).Error() != err.Error() { // fmt.Errorf with several %w
		return nil
	}
	return parts
}

// Package explain replaces the text of errors. The kernel has one errno for many refusals, and its
// text ("argument list too long") may fit none of them.
package explain

import "fmt"

// Error returns an error with the formatted text alone, that wraps cause.
func Error(cause error, format string, args ...any) error {
	return &explained{cause, fmt.Sprintf(format, args...)}
}

type explained struct {
	cause error
	text  string
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.cause }

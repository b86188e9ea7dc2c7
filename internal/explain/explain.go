// Package explain replaces the text of errors. The kernel uses one errno for many refusals, and its
// text, such as "argument list too long", is often misleading.
package explain

import "fmt"

// Error returns an error that wraps cause and has only the formatted text.
func Error(cause error, format string, args ...any) error {
	return &explained{cause, fmt.Sprintf(format, args...)}
}

type explained struct {
	cause error
	text  string
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.cause }

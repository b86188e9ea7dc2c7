// Package explain replaces the texts of kernel errors. The kernel uses one errno for many causes, and
// the errno's text, such as "argument list too long", often misleads.
package explain

import "fmt"

// Error returns an error that wraps cause. Its text is only the formatted text, without that of cause.
func Error(cause error, format string, args ...any) error {
	return &explained{cause, fmt.Sprintf(format, args...)}
}

type explained struct {
	cause error
	text  string
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.cause }

// Package explain gives errors the words of what they mean. The kernel has one errno for many
// refusals, and its text ("argument list too long") may fit none of them.
package explain

import "fmt"

// Error returns an error whose text is the format's alone, and which is cause for [errors.Is]
// and [errors.As].
func Error(cause error, format string, args ...any) error {
	return &explained{cause, fmt.Sprintf(format, args...)}
}

type explained struct {
	cause error
	text  string
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.cause }

// Package maptype names and checks the types of BPF maps.
package maptype

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
)

// ErrWrong is the error for an object whose type is not the one that the caller wants.
var ErrWrong = errors.New("wrong type")

// Name returns the name of a map type for output: "ringbuf", "user_ringbuf" and "arena", as bpftool
// prints them. For other types it returns the name in cilium/ebpf in lower case.
func Name(t ebpf.MapType) string {
	if t == ebpf.UserRingbuf {
		return "user_ringbuf"
	}
	return strings.ToLower(t.String())
}

// List joins the names of types as in "ringbuf or user_ringbuf". Without types it returns "a map".
func List(types []ebpf.MapType) string {
	if len(types) == 0 {
		return "a map"
	}
	var names []string
	for _, t := range types {
		names = append(names, Name(t))
	}
	return strings.Join(names, " or ")
}

// Check returns an error matching [ErrWrong] unless t is in want, or want is empty.
func Check(t ebpf.MapType, want []ebpf.MapType) error {
	if len(want) == 0 || slices.Contains(want, t) {
		return nil
	}
	return &Error{t, fmt.Sprintf("it is a map of type %s, wanted %s", Name(t), List(want))}
}

// Error is an error matching [ErrWrong] about a map of the type Type.
type Error struct {
	Type ebpf.MapType
	Text string
}

func (e *Error) Error() string        { return fmt.Sprintf("%v: %s", ErrWrong, e.Text) }
func (e *Error) Is(target error) bool { return target == ErrWrong }

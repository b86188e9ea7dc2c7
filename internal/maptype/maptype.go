// Package maptype names and checks the types of BPF maps.
package maptype

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
)

// ErrWrong reports an object of another type than the caller wants.
var ErrWrong = errors.New("wrong type")

// Name returns the name of a map type for people and scripts: "ringbuf", "user_ringbuf" and "arena", as
// bpftool prints them; for other types cilium/ebpf's in lower case.
func Name(t ebpf.MapType) string {
	if t == ebpf.UserRingbuf {
		return "user_ringbuf"
	}
	return strings.ToLower(t.String())
}

// List returns "a or b" for several types, and "a map" for none.
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

// Check returns [ErrWrong] unless t is one of want, or want is empty.
func Check(t ebpf.MapType, want []ebpf.MapType) error {
	if len(want) == 0 || slices.Contains(want, t) {
		return nil
	}
	return fmt.Errorf("%w: it is a map of type %s, wanted %s", ErrWrong, Name(t), List(want))
}

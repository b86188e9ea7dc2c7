package command

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/rbtool/rbtool/drops"
	"github.com/rbtool/rbtool/internal/kallsyms"
)

// cannotCount is the error of a host where no engine counts lost records.
type cannotCount struct {
	text  string
	cause error // of package drops
}

func (e *cannotCount) Error() string { return e.text }
func (e *cannotCount) Unwrap() error { return e.cause }

// IsCannotCount reports whether an error is one of those for which [CannotCount] says what each engine saw: a command can then do
// without the counts.
func IsCannotCount(err error) bool {
	return errors.Is(err, drops.ErrNotSupported) || errors.Is(err, fs.ErrPermission)
}

// CannotCount explains an error of [drops.New] to the user of a command: what each engine saw, with [StatusUnable] and a hint.
// Other errors only get the name of the command.
func CannotCount(name string, err error) error {
	if !IsCannotCount(err) {
		return fmt.Errorf("%s: %w", name, err)
	}
	var seen []string
	for _, e := range EngineErrors(err) {
		seen = append(seen, fmt.Sprintf("%s: %s: %s", e.Engine, e.Probe, WithoutMemlock(e.Err)))
	}
	if len(seen) == 0 {
		seen = []string{WithoutMemlock(err)}
	}
	refused := WithStatus(&cannotCount{name + ": lost records cannot be counted: " + strings.Join(seen, "; "), err}, StatusUnable)
	if HasHint(err) {
		return refused // a privilege is missing
	}
	if errors.Is(err, kallsyms.ErrHidden) {
		return WithHint(refused, "with sysctl kernel.kptr_restrict=1, processes with CAP_SYSLOG see the addresses that breakpoints need")
	}
	return WithHint(refused, "a kernel that lets these helpers be traced, or one with kprobes, can count; otherwise only the program can: "+
		"bpf_ringbuf_reserve returns NULL")
}

// WithoutMemlock returns the text of an error without the guess of cilium/ebpf that a limit is too low, for errors of programs that
// take no memory of note.
func WithoutMemlock(err error) string { return strings.ReplaceAll(err.Error(), memlock, "") }

// EngineErrors returns the errors of the engines in a tree of errors.
func EngineErrors(err error) []*drops.EngineError {
	switch e := err.(type) {
	case *drops.EngineError:
		return []*drops.EngineError{e}
	case interface{ Unwrap() error }:
		return EngineErrors(e.Unwrap())
	case interface{ Unwrap() []error }:
		var all []*drops.EngineError
		for _, one := range e.Unwrap() {
			all = append(all, EngineErrors(one)...)
		}
		return all
	}
	return nil
}

// CountingCost says in a sentence what it costs to count, as [drops.EngineInfo].CallCost has it.
func CountingCost(perCall time.Duration) string {
	unit := 10 * time.Nanosecond
	if perCall >= time.Microsecond {
		unit = 100 * time.Nanosecond
	}
	if perCall = perCall.Round(unit); perCall == 0 {
		return "Its cost is too small to measure."
	}
	return fmt.Sprintf("Each reservation takes %v longer meanwhile.", perCall)
}

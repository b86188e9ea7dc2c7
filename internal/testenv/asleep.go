package testenv

import (
	"bytes"
	"runtime"
	"testing"
	"time"
)

// Asleep returns when a goroutine is parked in the runtime's poller by a call of
// function, named as in a stack trace: "consumer.(*Reader).Wait". What the test
// does next finds it asleep, where a sleep of the test's own would only hope so.
func Asleep(tb testing.TB, function string) {
	tb.Helper()
	untilGoroutine(tb, "[IO wait", function)
}

// Inside returns when a goroutine is in a call of function, in whatever state.
func Inside(tb testing.TB, function string) {
	tb.Helper()
	untilGoroutine(tb, "[", function)
}

func untilGoroutine(tb testing.TB, state, function string) {
	tb.Helper()
	buf := make([]byte, 1<<20)
	// Nothing announces where a goroutine is: look again for a bounded time.
	for deadline := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
		stacks := buf[:runtime.Stack(buf, true)]
		for stack := range bytes.SplitSeq(stacks, []byte("\n\n")) {
			head, frames, _ := bytes.Cut(stack, []byte("\n"))
			if bytes.Contains(head, []byte(state)) && bytes.Contains(frames, []byte(function+"(")) {
				return
			}
		}
		if time.Now().After(deadline) {
			tb.Fatalf("no goroutine %s...] in %s:\n%s", state, function, stacks)
		}
	}
}

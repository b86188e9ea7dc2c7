package testenv

import (
	"bytes"
	"runtime"
	"testing"
	"time"
)

// Asleep returns when a goroutine is parked in the runtime's poller by a call of function, named as
// in a stack trace: "consumer.(*Reader).Wait".
func Asleep(tb testing.TB, function string) {
	tb.Helper()
	untilGoroutine(tb, "[IO wait", function)
}

// Inside returns when a goroutine is in a call of function, running or not.
func Inside(tb testing.TB, function string) {
	tb.Helper()
	untilGoroutine(tb, "[", function)
}

func untilGoroutine(tb testing.TB, state, function string) {
	tb.Helper()
	buf := make([]byte, 1<<20)
	// Polling, for a bounded time: the runtime offers no notification.
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

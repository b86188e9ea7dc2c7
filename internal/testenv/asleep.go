package testenv

import (
	"bytes"
	"runtime"
	"testing"
	"time"
)

// Asleep waits until a goroutine in a call of function is parked in the poller of the runtime.
// function is named as in a stack trace: "consumer.(*Reader).Wait".
func Asleep(tb testing.TB, function string) {
	tb.Helper()
	untilGoroutine(tb, "[IO wait", function)
}

// Inside waits until a goroutine, running or not, is in a call of function.
func Inside(tb testing.TB, function string) {
	tb.Helper()
	untilGoroutine(tb, "[", function)
}

func untilGoroutine(tb testing.TB, state, function string) {
	tb.Helper()
	buf := make([]byte, 1<<20)
	// Poll for a bounded time, because the runtime offers no notification.
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

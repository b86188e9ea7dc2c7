package syscall_test

import (
	"context"
	"testing"
	"time"
)

// BenchmarkWait measures a Wait whose condition is true at once, so that it does not sleep.
func BenchmarkWait(b *testing.B) {
	cancellable, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, bb := range []struct {
		name  string
		ctx   context.Context
		timer time.Duration
	}{
		{"context without end", context.Background(), -1},
		{"context without end, timer", context.Background(), time.Second},
		{"context with an end", cancellable, -1},
		{"context with an end, timer", cancellable, time.Second},
	} {
		b.Run(bb.name, func(b *testing.B) {
			p := newPoller(b, newEvent(b))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Wait(bb.ctx, bb.timer, func(int) bool { return true }, no); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

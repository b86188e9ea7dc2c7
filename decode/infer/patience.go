package infer

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// maxPatience is how many times as long as on an idle machine a search may take.
const maxPatience = 5

// patience returns a context that ends after some time, or later if the process waits for a CPU meanwhile: what is found on a
// busy machine is the same as on another. waited returns how long the process has waited for one.
func patience(d time.Duration, waited func() time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	left, before := maxPatience, waited()
	var clock *time.Timer
	ready := make(chan struct{})
	clock = time.AfterFunc(d, func() {
		<-ready
		now := waited()
		if left--; left == 0 || now-before < d/2 {
			cancel()
			return
		}
		before = now
		clock.Reset(d)
	})
	close(ready)
	return ctx, func() {
		clock.Stop()
		cancel()
	}
}

// waitedForCPU returns how long all threads of this process have been ready to run without a CPU
// (kernel/sched/stats.h, sched_info_arrive); 0 if the kernel does not tell.
func waitedForCPU() (sum time.Duration) {
	files, _ := filepath.Glob("/proc/self/task/*/schedstat")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		if fields := bytes.Fields(text); len(fields) > 1 {
			n, _ := strconv.ParseInt(string(fields[1]), 10, 64)
			sum += time.Duration(n)
		}
	}
	return sum
}

// Command rbtool creates, pins, watches and feeds the BPF maps whose memory a
// process can map.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/escape"
)

func main() {
	// A closed stdout is an error of write(2), not the death of the process:
	// what is pinned or claimed is cleaned up.
	signal.Ignore(unix.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), endings()...)
	context.AfterFunc(ctx, stop) // a second signal kills
	quitQuietly()
	status := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

// endings are the signals that end the command. SIGHUP is none under nohup(1).
func endings() []os.Signal {
	signals := []os.Signal{unix.SIGINT, unix.SIGTERM}
	if !signal.Ignored(unix.SIGHUP) {
		signals = append(signals, unix.SIGHUP)
	}
	return signals
}

// quitQuietly makes SIGQUIT end the process at once with the status that a shell gives it. Without
// it the Go runtime prints the stacks of all goroutines, as it still does if GOTRACEBACK is set.
func quitQuietly() {
	if os.Getenv("GOTRACEBACK") != "" {
		return
	}
	quit := make(chan os.Signal, 1)
	signal.Notify(quit, unix.SIGQUIT)
	go func() {
		<-quit
		os.Exit(statusQuit)
	}()
}

// run runs the command and returns its exit status. Unprintable characters are escaped on their way
// to stdout and stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	// Kernels up to 5.10 account maps against RLIMIT_MEMLOCK. Without the
	// privilege to lift it, what fails for want of it says so.
	_ = rlimit.RemoveMemlock()

	out, errs := escape.NewWriter(stdout), escape.NewWriter(stderr)
	err := execute(ctx, newRoot(out, errs), args)
	if err == nil {
		err = out.Flush()
	}
	if err == nil {
		return statusDone
	}
	if errors.Is(err, unix.EPIPE) {
		return statusDone // whoever read the output has had enough
	}
	for _, err := range each(err) {
		printError(errs, err)
	}
	return statusOf(err)
}

// each returns the errors that were joined into err, one for each line, with what was said
// before them of all; or err. A hint for all is one for the last.
func each(err error) []error {
	hint := ""
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		if f, ok := inner.(*failure); ok {
			hint = cmp.Or(hint, f.hint)
		}
		joined, ok := inner.(interface{ Unwrap() []error })
		if !ok {
			continue
		}
		errs, about := joined.Unwrap(), strings.TrimSuffix(err.Error(), inner.Error())
		if len(errs) < 2 || strings.Count(err.Error(), "\n") != len(errs)-1 {
			break
		}
		var lines []error
		for _, e := range errs {
			lines = append(lines, fmt.Errorf("%s%w", about, e))
		}
		if hint != "" {
			lines[len(lines)-1] = &failure{err: lines[len(lines)-1], hint: hint}
		}
		return lines
	}
	return []error{err}
}

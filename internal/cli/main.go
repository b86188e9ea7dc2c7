// Package cli is the command rbtool: the root command, the packages of its subcommands, and how a
// process runs them. Each of these packages imports package command, but none of the others.
package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"time"

	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/escape"
)

// Main runs rbtool with the arguments of the process and returns its exit status.
func Main() int {
	// Ignore SIGPIPE: writing to a closed stdout then fails with EPIPE instead of killing the process,
	// and the command can remove its pins and claims.
	signal.Ignore(unix.SIGPIPE)
	collectLater()
	ctx, stop := signal.NotifyContext(context.Background(), endings()...)
	context.AfterFunc(ctx, stop) // a second signal kills the process
	quitQuietly()
	defer stop()
	return run(ctx, os.Args[1:], os.Stdout, os.Stderr)
}

// startUp is how long, and up to which memory in bytes, rbtool does without garbage collection.
const (
	startUp       = time.Second
	startUpMemory = 64 << 20
)

// collectLater postpones garbage collection until the command has started. Most commands read the types of the kernel first:
// to collect garbage meanwhile takes a third of the time of rbtool inspect.
func collectLater() {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	percent := debug.SetGCPercent(-1)
	limit := debug.SetMemoryLimit(startUpMemory)
	time.AfterFunc(startUp, func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	})
}

// runArgs runs rbtool with args and returns the command's error.
func runArgs(ctx context.Context, stdout, stderr io.Writer, args []string) error {
	return execute(ctx, newRoot(stdout, stderr), args)
}

// endings returns the signals that end the command. SIGHUP is not one of them if nohup(1) makes the
// process ignore it.
func endings() []os.Signal {
	signals := []os.Signal{unix.SIGINT, unix.SIGTERM}
	if !signal.Ignored(unix.SIGHUP) {
		signals = append(signals, unix.SIGHUP)
	}
	return signals
}

// quitQuietly makes SIGQUIT end the process at once, with the exit status that a shell reports for
// SIGQUIT. If GOTRACEBACK is set, SIGQUIT instead prints the stacks of all goroutines, as in other Go
// programs.
func quitQuietly() {
	if os.Getenv("GOTRACEBACK") != "" {
		return
	}
	quit := make(chan os.Signal, 1)
	signal.Notify(quit, unix.SIGQUIT)
	go func() {
		<-quit
		os.Exit(command.StatusQuit)
	}()
}

// run runs rbtool with args, prints its error, and returns its exit status. It escapes unprintable
// characters in the output.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	// Kernels up to 5.10 count maps against RLIMIT_MEMLOCK. If raising the limit fails here, the command
	// that reaches the limit explains it.
	_ = rlimit.RemoveMemlock()

	out, errs := escape.NewWriter(stdout), escape.NewWriter(stderr)
	err := runArgs(ctx, out, errs, args)
	if err == nil {
		err = out.Flush()
	}
	if err == nil {
		return command.StatusDone
	}
	if errors.Is(err, unix.EPIPE) {
		return command.StatusDone // the reader of the output, such as head(1), has closed it
	}
	command.PrintError(errs, err)
	return command.StatusOf(err)
}

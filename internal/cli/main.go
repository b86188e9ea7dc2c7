// Package cli is the command rbtool: the root command, its families of subcommands, and how a
// process runs them. A family imports package command and no other family.
package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"

	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/escape"
)

// Main runs the command that the process's arguments ask for, and returns its exit status.
func Main() int {
	// A closed stdout is an error of write(2), not the death of the process:
	// what is pinned or claimed is cleaned up.
	signal.Ignore(unix.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), endings()...)
	context.AfterFunc(ctx, stop) // a second signal kills
	quitQuietly()
	defer stop()
	return run(ctx, os.Args[1:], os.Stdout, os.Stderr)
}

// runArgs runs the command that args ask for.
func runArgs(ctx context.Context, stdout, stderr io.Writer, args []string) error {
	return execute(ctx, newRoot(stdout, stderr), args)
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
		os.Exit(command.StatusQuit)
	}()
}

// run runs the command and returns its exit status. Unprintable characters are escaped on their way
// to stdout and stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	// Kernels up to 5.10 account maps against RLIMIT_MEMLOCK. Without the
	// privilege to lift it, what fails for want of it says so.
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
		return command.StatusDone // whoever read the output has had enough
	}
	command.PrintError(errs, err)
	return command.StatusOf(err)
}

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

// Main runs rbtool with the arguments of the process and returns its exit status.
func Main() int {
	// Writing to a closed stdout fails with EPIPE and does not kill the process, so that commands
	// remove their pins and claims.
	signal.Ignore(unix.SIGPIPE)
	ctx, stop := signal.NotifyContext(context.Background(), endings()...)
	context.AfterFunc(ctx, stop) // a second signal kills
	quitQuietly()
	defer stop()
	return run(ctx, os.Args[1:], os.Stdout, os.Stderr)
}

// runArgs runs rbtool with args.
func runArgs(ctx context.Context, stdout, stderr io.Writer, args []string) error {
	return execute(ctx, newRoot(stdout, stderr), args)
}

// endings returns the signals that end the command: SIGHUP is not among them under nohup(1).
func endings() []os.Signal {
	signals := []os.Signal{unix.SIGINT, unix.SIGTERM}
	if !signal.Ignored(unix.SIGHUP) {
		signals = append(signals, unix.SIGHUP)
	}
	return signals
}

// quitQuietly makes SIGQUIT end the process at once, with the status that a shell reports for it. If
// GOTRACEBACK is set, the Go runtime prints the stacks of all goroutines as usual.
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

// run runs rbtool with args, prints its error, and returns its exit status. Unprintable characters
// in its output are escaped.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	// Kernels up to 5.10 account maps against RLIMIT_MEMLOCK. If the limit cannot be raised, the
	// command that runs into it says so.
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
		return command.StatusDone // the reader of the output has ended, as head(1) does
	}
	command.PrintError(errs, err)
	return command.StatusOf(err)
}

// Command vmtest runs Go tests, compiled once, on many Linux kernels, each in a
// virtual machine, and prints what passed where and which features each kernel
// has. See usage in options.go, and kernels/kernels.txt for the kernels.
//
// The same program is the first process and the driver inside the machines
// (package guest), so it must be linked statically, as it is without cgo.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/rbtool/rbtool/internal/feature"
	"github.com/rbtool/rbtool/vmtest/guest"
	"github.com/rbtool/rbtool/vmtest/kernels"
)

func main() {
	if code, inside := insideGuest(os.Args[1:]); inside {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := hostMain(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// insideGuest does the part of the program that runs in a machine, if it is in one.
func insideGuest(args []string) (code int, inside bool) {
	var err error
	switch {
	case os.Getpid() == 1:
		err = errors.Join(guest.Init(), guest.PowerOff())
	case len(args) > 0 && args[0] == guest.Command:
		err = guest.Run(guest.Dir)
	case len(args) > 0 && args[0] == feature.Command:
		err = feature.Unprivileged(args[1:])
	default:
		return 0, false
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "vmtest: %v\n", err)
		return 1, true
	}
	return 0, true
}

// hostMain returns the exit status: 1 when tests failed, 2 when they could not be run.
func hostMain(ctx context.Context, args []string) int {
	known, err := kernels.Known()
	if err != nil {
		fmt.Fprintf(os.Stderr, "vmtest: %v\n", err)
		return 2
	}
	o, err := parse(args, known, os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2
	}
	h, err := newHost(o, known)
	if err != nil {
		fmt.Fprintf(os.Stderr, "vmtest: %v\n", err)
		return 2
	}
	defer h.close()
	code, err := h.do(ctx)
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "vmtest: %v\n", err)
	}
	return code
}

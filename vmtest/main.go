// Command vmtest runs Go tests on many Linux kernels, each in a virtual machine, and prints
// which tests passed on which kernel, and which features each kernel has. options.go has the
// usage, kernels/kernels.txt the kernels.
//
// The same program is the first process and the driver inside the machines (package guest). They
// have no libraries: a vmtest that is linked with cgo compiles itself again without it for them.
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

// insideGuest runs the program's part inside a guest, if this process is the first process or the
// driver of a guest.
func insideGuest(args []string) (code int, inside bool) {
	var err error
	switch {
	case os.Getpid() == 1:
		err = guest.Init()
		fmt.Fprintf(os.Stderr, "vmtest: %v\n", err) // on the console; Init returns only if it fails
		err = guest.PowerOff()
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

// hostMain returns the exit status: 1 if tests failed, 2 if they could not be run.
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

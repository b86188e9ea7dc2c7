package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/bpf/arenaxdp"
)

// serveOptions are the flags of arena serve.
type serveOptions struct {
	dev      string
	port     uint16
	mode     string
	alone    bool
	duration duration
}

var serveModes = map[string]arenaxdp.Mode{"any": arenaxdp.Any, "native": arenaxdp.Native, "generic": arenaxdp.Generic}

func newArenaServe() *cobra.Command {
	opts := serveOptions{port: arenaxdp.DefaultPort, mode: "any"}
	cmd := &cobra.Command{
		Use:   "serve MAP --dev IFACE",
		Short: "Answer memcached GET requests from an arena, in the kernel",
		Long: fmt.Sprintf(`Answer requests for values of the table %q of an arena where the packets arrive: an
XDP program on the interface reads the table and sends the answer back. The requests
are memcached's over UDP, by IPv4 and IPv6, to the addresses that the interface has. In a
fresh arena it makes the table; rbtool arena put fills it.

What the program leaves, as keys that are not there and requests for several, goes up
the stack, where this command answers it; with --xdp-only it does not, and another server
may. It lasts as long as the command. At the end one line on standard error says what
was done.`, kvName),
		Example: `  rbtool arena serve /sys/fs/bpf/heap --dev eth0
  rbtool arena serve name:heap --dev eth0 --port 11212 --xdp-only`,
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&opts.dev, "dev", "", "the interface")
	f.Uint16Var(&opts.port, "port", opts.port, "the UDP port")
	f.StringVar(&opts.mode, "mode", opts.mode, "where the program runs: native (in the driver), generic (in the stack), any")
	f.BoolVar(&opts.alone, "xdp-only", false, "leave what the program does not answer to another server")
	f.Var(&opts.duration, "for", "stop after so long")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := opts.check(); err != nil {
			return err
		}
		return withArena("serve", args[0], func(a *arena.Arena) error {
			return serve(cmd.Context(), cmd.ErrOrStderr(), a, opts)
		})
	}
	return cmd
}

// check finds what is wrong whatever the machine's state.
func (o *serveOptions) check() error {
	if _, known := serveModes[o.mode]; !known {
		return usagef("arena serve: --mode %s: not native, generic or any", o.mode)
	}
	switch {
	case o.dev == "":
		return usagef("arena serve: --dev IFACE is missing")
	case o.port == 0:
		return usagef("arena serve: --port 0: not between 1 and 65535")
	}
	return nil
}

func serve(ctx context.Context, stderr io.Writer, a *arena.Arena, opts serveOptions) (err error) {
	kv, err := makeKV(a)
	if err != nil {
		return err
	}
	h, err := a.Heap()
	if err != nil {
		return err
	}
	if opts.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(opts.duration))
		defer cancel()
	}
	var conn *net.UDPConn
	if !opts.alone {
		if conn, err = net.ListenUDP("udp", &net.UDPAddr{Port: int(opts.port)}); err != nil {
			if errors.Is(err, unix.EADDRINUSE) {
				err = withHint(err, "with --xdp-only the server that uses the port answers the rest")
			}
			return err
		}
		defer conn.Close()
	}
	x, err := arenaxdp.Attach(h, kvName, arenaxdp.Options{Interface: opts.dev, Port: opts.port, Mode: serveModes[opts.mode]})
	if err != nil {
		if errors.Is(err, unix.EBUSY) {
			return &failure{err: err, status: statusBusy}
		}
		return err
	}
	defer func() { err = errors.Join(err, printServed(stderr, x), x.Close()) }()
	fmt.Fprintf(stderr, "answering on %s, UDP port %d\n", opts.dev, opts.port)
	if opts.alone {
		<-ctx.Done()
		return nil
	}
	return arenaxdp.Serve(ctx, conn, kv)
}

func printServed(w io.Writer, x *arenaxdp.Accelerator) error {
	n, err := x.Counters()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%d requests answered; not: %d absent keys, %d other requests, %d malformed packets", n.Hits, n.Misses, n.Others, n.Malformed)
	if rest := n.Busy + n.Broken + n.NoRoom; rest > 0 {
		fmt.Fprintf(w, ", %d busy, %d broken, %d without room for the answer", n.Busy, n.Broken, n.NoRoom)
	}
	fmt.Fprintln(w)
	return nil
}

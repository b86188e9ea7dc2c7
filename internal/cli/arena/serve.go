package arena

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/arena"
	"github.com/rbtool/rbtool/arena/container"
	"github.com/rbtool/rbtool/bpf/arenaxdp"
	"github.com/rbtool/rbtool/internal/cli/command"
)

// serveOptions are the flags of arena serve.
type serveOptions struct {
	dev      string
	port     uint16
	mode     string
	alone    bool
	allow    networks
	growth   int
	duration command.Duration
}

var serveModes = map[string]arenaxdp.Mode{"any": arenaxdp.Any, "native": arenaxdp.Native, "generic": arenaxdp.Generic}

func newArenaServe() *cobra.Command {
	opts := serveOptions{port: arenaxdp.DefaultPort, mode: "any", growth: arenaxdp.DefaultGrowth}
	cmd := &cobra.Command{
		Use:   "serve MAP --dev IFACE",
		Short: "Answer memcached GET requests from an arena, in the kernel",
		Long: fmt.Sprintf(`Answer requests for values of the table %q of an arena where the packets arrive: an
XDP program on the interface reads the table and sends the answer back. The requests
are memcached's over UDP, by IPv4 and IPv6, to the interface's addresses, also as they
change. In a fresh arena the command makes the table; rbtool arena put fills it.

What the program leaves, as keys that are not there and requests for several, goes up
the stack, where this command answers it; with --xdp-only it does not, and another server
may. It lasts as long as the command. At the end standard error says what was done: a
line for the program and one for the command.

Exposure: every host that may ask can read every value; nothing is encrypted. The source
of a UDP packet can be forged, and the answer goes to it. To keep the server from being
used against third parties,
  - it answers only hosts in the networks of the interface's addresses, or instead those
    of --allow;
  - it takes requests only at the interface, for one of its addresses: not by loopback,
    broadcast or multicast;
  - it answers only commands of memcached, never the answer of another server;
  - it sends nothing to ports of servers (below 1024, %d and --port), to addresses of
    the interface, or to broadcast and multicast addresses;
  - the program passes on packets with a wrong UDP checksum, and the kernel drops them;
  - an answer's packet has at most --max-growth times the bytes of the request's. A get
    whose values do not fit gets SERVER_ERROR, or nothing if that does not fit either, but
    never END, which would say that the keys are absent. Each key is answered once per
    request. The default, %d, suffices for any value in answer to a get of one key.
With --allow any, a forged request directs up to that many times its bytes at any host:
allow only networks that drop packets with forged sources, or limit the rate upstream.`, kvName, arenaxdp.DefaultPort, arenaxdp.DefaultGrowth),
		Example: `  rbtool arena serve /sys/fs/bpf/heap --dev eth0
  rbtool arena serve name:heap --dev eth0 --port 11212 --xdp-only
  rbtool arena serve name:heap --dev eth0 --allow 10.0.0.0/8,2001:db8::/32 --max-growth 3`,
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&opts.dev, "dev", "", "the interface")
	f.Uint16Var(&opts.port, "port", opts.port, "the UDP port")
	f.StringVar(&opts.mode, "mode", opts.mode, "where the program runs: native (in the driver), generic (in the stack), any")
	f.BoolVar(&opts.alone, "xdp-only", false, "leave what the program does not answer to another server")
	f.Var(&opts.allow, "allow", "answer these networks, CIDR[,CIDR...] or any (default: those of the interface)")
	f.IntVar(&opts.growth, "max-growth", opts.growth, "limit an answer to this many times the bytes of its request")
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
		return command.Usagef("arena serve: --mode %s: not native, generic or any", o.mode)
	}
	switch {
	case o.dev == "":
		return command.Usagef("arena serve: --dev IFACE is missing")
	case o.port == 0:
		return command.Usagef("arena serve: --port 0: not between 1 and 65535")
	case o.growth < 1 || o.growth > arenaxdp.MaxGrowth:
		return command.Usagef("arena serve: --max-growth %d: not between 1 and %d", o.growth, arenaxdp.MaxGrowth)
	}
	return nil
}

func (o *serveOptions) options() arenaxdp.Options {
	return arenaxdp.Options{Interface: o.dev, Port: o.port, Mode: serveModes[o.mode], Allow: o.allow, Growth: o.growth}
}

func serve(ctx context.Context, stderr io.Writer, a *arena.Arena, opts serveOptions) (err error) {
	kv, err := makeKV(a)
	if err != nil {
		return err
	}
	h, err := container.OpenHeap(a)
	if err != nil {
		return err
	}
	if opts.duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(opts.duration))
		defer cancel()
	}
	var s *arenaxdp.Server
	if !opts.alone {
		if s, err = arenaxdp.Listen(kv, opts.options()); err != nil {
			if errors.Is(err, unix.EADDRINUSE) {
				err = command.WithHint(err, "with --xdp-only the server that uses the port answers the rest")
			}
			return err
		}
		defer s.Close()
	}
	x, err := arenaxdp.Attach(h, kvName, opts.options())
	if err != nil {
		if errors.Is(err, unix.EBUSY) {
			return command.WithStatus(err, command.StatusBusy)
		}
		return err
	}
	defer func() { err = errors.Join(err, printServed(stderr, x, s), x.Close()) }()
	fmt.Fprintf(stderr, "answering on %s, UDP port %d\n", opts.dev, opts.port)
	if s == nil {
		return x.Follow(ctx)
	}
	return serveBoth(ctx, x, s)
}

// serveBoth has the program and the server answer until ctx ends or one of them fails.
func serveBoth(ctx context.Context, x *arenaxdp.Accelerator, s *arenaxdp.Server) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	followed := make(chan error, 1)
	go func() {
		defer cancel()
		followed <- x.Follow(ctx)
	}()
	err := s.Serve(ctx)
	cancel()
	return errors.Join(err, <-followed)
}

// tally is a count and its name.
type tally struct {
	n    uint64
	what string
}

// printServed prints the counts of the program, and of the server unless it is nil.
func printServed(w io.Writer, x *arenaxdp.Accelerator, s *arenaxdp.Server) error {
	n, err := x.Counters()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "%d requests answered; not: %d absent keys, %d other requests, %d malformed packets", n.Hits, n.Misses, n.Others, n.Malformed)
	printTallies(w, append(refusals(n.Refused),
		tally{n.Checksums, "with a wrong UDP checksum"}, tally{n.Busy, "busy"}, tally{n.Broken, "broken"},
		tally{n.NoRoom, "without room for the answer"}))
	if s == nil {
		return nil
	}
	served := s.Counters()
	fmt.Fprintf(w, "%d requests answered by the command; not: %d without a command", served.Answered, served.NoRequest)
	printTallies(w, append(refusals(served.Refused), tally{served.NotLocal, "for another address"}))
	return nil
}

func refusals(r arenaxdp.Refused) []tally {
	return []tally{
		{r.ServerPorts, "from ports of servers"}, {r.Sources, "from sources that are not allowed"},
		{r.Large, "with an answer above --max-growth"},
	}
}

// printTallies ends a line with the tallies that are not 0.
func printTallies(w io.Writer, tallies []tally) {
	for _, t := range tallies {
		if t.n > 0 {
			fmt.Fprintf(w, ", %d %s", t.n, t.what)
		}
	}
	fmt.Fprintln(w)
}

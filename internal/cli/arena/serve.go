package arena

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf/link"
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
	mode     *command.Choice
	alone    bool
	allow    networks
	growth   int
	duration command.Duration
}

var serveModes = map[string]link.XDPAttachFlags{"any": 0, "native": link.XDPDriverMode, "generic": link.XDPGenericMode}

// The default and the maximum of --max-growth are those of arenaxdp.Options.
const (
	defaultGrowth = 8
	maxGrowth     = 1000
)

func newServe() *cobra.Command {
	opts := serveOptions{
		port: arenaxdp.DefaultPort, growth: defaultGrowth,
		mode: &command.Choice{Value: "any", Among: []string{"any", "native", "generic"}},
	}
	cmd := &cobra.Command{
		Use:   "serve MAP --dev IFACE",
		Short: "Answer memcached GET requests from an arena, in the kernel",
		Long: fmt.Sprintf(`Answer requests for values of the table %q of an arena as the packets arrive: an XDP
program on the interface reads the table and sends the answer. Requests are those of
memcached over UDP, by IPv4 or IPv6, to the current addresses of the interface. In a fresh
arena, the command makes the table; rbtool arena put fills it.

Requests that the program does not answer, such as those for absent keys or for several
keys, go up the stack, where this command answers them. With --xdp-only it does not, so that
another server can. Serving ends with the command. Then it prints the counts of the program
and of the command on standard error, one line each.

Exposure: every allowed host can read every value; nothing is encrypted. The source of a UDP
packet can be forged, and the answer goes to that source. To prevent the use of the server
against third parties,
  - it answers only hosts in the networks of the interface's addresses, or those of --allow
    instead;
  - it accepts requests only at the interface and for one of its addresses, not by loopback,
    broadcast or multicast;
  - it answers only commands of memcached, never the answer of another server;
  - it sends nothing to ports of servers (below 1024, %d and --port), to addresses of the
    interface, or to broadcast and multicast addresses;
  - the program passes on packets with a wrong UDP checksum, which the kernel drops;
  - the packet of an answer has at most --max-growth times the bytes of that of the request.
    A get whose values do not fit is answered with SERVER_ERROR, or not at all if that does
    not fit, but never with END, which would mean that the keys are absent. Each key is
    answered once per request. The default, %d, suffices for any value in answer to a get of
    one key.
With --allow any, a forged request can direct up to --max-growth times its bytes at any host:
allow only networks that drop packets with forged sources, or limit the rate upstream.`, kvName, arenaxdp.DefaultPort, defaultGrowth),
		Example: `  rbtool arena serve /sys/fs/bpf/heap --dev eth0
  rbtool arena serve name:heap --dev eth0 --port 11212 --xdp-only
  rbtool arena serve name:heap --dev eth0 --allow 10.0.0.0/8,2001:db8::/32 --max-growth 3`,
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringVar(&opts.dev, "dev", "", "serve on this interface")
	f.Uint16Var(&opts.port, "port", opts.port, "serve on this UDP port")
	f.Var(opts.mode, "mode", "run the program native (in the driver), generic (in the stack) or any")
	f.BoolVar(&opts.alone, "xdp-only", false, "leave requests that the program does not answer to another server")
	f.Var(&opts.allow, "allow", "answer hosts in these networks, CIDR[,CIDR...] or any (default: those of the interface)")
	f.IntVar(&opts.growth, "max-growth", opts.growth, "limit an answer to this many times the bytes of its request")
	f.Var(&opts.duration, "for", "exit after this duration")
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

// check returns an error for flags that are wrong on any machine.
func (o *serveOptions) check() error {
	switch {
	case o.dev == "":
		return command.Usagef("arena serve: --dev IFACE is missing")
	case o.port == 0:
		return command.Usagef("arena serve: --port 0: not between 1 and 65535")
	case o.growth < 1 || o.growth > maxGrowth:
		return command.Usagef("arena serve: --max-growth %d: not between 1 and %d", o.growth, maxGrowth)
	}
	return nil
}

func (o *serveOptions) options() arenaxdp.Options {
	return arenaxdp.Options{Interface: o.dev, Port: o.port, Mode: serveModes[o.mode.Value], Allow: o.allow, Growth: o.growth}
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
				err = command.WithHint(err, "--xdp-only leaves the other requests to the server that uses the port")
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

// serveBoth runs the program and the server until ctx is done or one of them fails.
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

// tally is a named count.
type tally struct {
	n    uint64
	what string
}

// printServed prints the counts of the program x, and those of the server s unless s is nil.
func printServed(w io.Writer, x *arenaxdp.Accelerator, s *arenaxdp.Server) error {
	n, err := x.Counters()
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "program: %d hits, %d misses, %d other requests, %d malformed packets", n.Hits, n.Misses, n.Others, n.Malformed)
	printTallies(w, append(refusals(n.ServerPorts, n.Sources, n.Large),
		tally{n.Checksums, "with a wrong UDP checksum"}, tally{n.Busy, "while the table changed"}, tally{n.Broken, "from a corrupt table"},
		tally{n.NoRoom, "without room for the answer"}))
	if s == nil {
		return nil
	}
	served := s.Counters()
	fmt.Fprintf(w, "command: %d answered, %d without a command", served.Answered, served.NoRequest)
	printTallies(w, append(refusals(served.ServerPorts, served.Sources, served.Large), tally{served.NotLocal, "for another address"}))
	return nil
}

func refusals(serverPorts, sources, large uint64) []tally {
	return []tally{
		{serverPorts, "from ports of servers"}, {sources, "from sources that are not allowed"},
		{large, "with an answer above --max-growth"},
	}
}

// printTallies ends a line with the tallies above 0.
func printTallies(w io.Writer, tallies []tally) {
	for _, t := range tallies {
		if t.n > 0 {
			fmt.Fprintf(w, ", %d %s", t.n, t.what)
		}
	}
	fmt.Fprintln(w)
}

package ring

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/fleet"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/stream"
)

const forwardHelp = `Store the records of ring buffers in a stream of NATS JetStream, consuming or observing the
rings as tail does, until interrupted. Several rings, and rings that come and go, are read as tail reads
them (rbtool tail --help). The batches of a ring are messages of the subject STREAM.HOST.RING, one
after the other; docs/fleet.md describes them.

A record is consumed when the server has acknowledged it, and is stored once: a forwarder that
starts asks the server which position of the ring was stored last, and goes on behind it, whether the
forwarder before it ended, was killed, or lost its server. A ring that was recreated begins anew.
If another forwarder stores batches of the same ring, only one of them goes on; the other one ends with
status 5.

While the server is away or full, records stay in their rings. When a ring is full, the kernel
refuses records, which rbtool drops counts. --on-full drop consumes and drops the oldest records
instead, when a ring is three quarters full; the next batch says how many. A record that is too large
for a message ends the command, or is dropped.

--encode raw sends the bytes of the records, with 3 bytes for each; --encode json the lines
that rbtool tail -o json prints, for programs that know nothing of rings.

Credentials and keys are in files; they are read again when the connection is made anew.`

// forwardOptions are the flags of forward.
type forwardOptions struct {
	readOptions
	engine engineOptions
	batch  command.Count
	encode *command.Choice
	onFull *command.Choice
	host   string
	create bool
	status command.Duration
}

func newForward() *cobra.Command {
	opts := forwardOptions{
		batch:  batchRecords,
		encode: &command.Choice{Value: fleet.Raw, Among: []string{fleet.Raw, fleet.JSON}},
		onFull: &command.Choice{Value: "wait", Among: []string{"wait", "drop"}},
	}
	cmd := &cobra.Command{
		Use:   "forward MAP... --to URL",
		Short: "Store the records of ring buffers in NATS JetStream, each exactly once",
		Long:  forwardHelp,
		Example: `  rbtool forward events --to nats://server/EVENTS --creds /etc/rbtool/host.creds
  rbtool forward '/sys/fs/bpf/agent/*' --to tls://server/EVENTS --tls-ca ca.pem --encode json
  rbtool forward --all --to nats://localhost/EVENTS --create --filter 'uid == 0'`,
		Args: opts.rings.args(),
	}
	opts.unorderedFlags(cmd)
	opts.engine.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&opts.engine.url, "to", "", "store records in the stream at `URL`, nats://HOST/STREAM or tls://HOST/STREAM")
	f.Var(&opts.batch, "batch", "store at most this many records in a message")
	f.Var(opts.encode, "encode", "store the bytes of records, or JSON")
	f.Var(opts.onFull, "on-full", "leave records in the ring while the server is away or full, or drop them when the ring is full too")
	f.StringVar(&opts.host, "host", "", "call this host `NAME` instead of its host name")
	f.BoolVar(&opts.create, "create", false, "create the stream if it does not exist")
	f.Var(&opts.status, "status", "print a line of counts to stderr at this interval")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := opts.checkForward(cmd, args); err != nil {
			return err
		}
		return forward(cmd.Context(), cmd.ErrOrStderr(), opts)
	}
	return cmd
}

// checkForward returns a usage error for flags that contradict each other.
func (o *forwardOptions) checkForward(cmd *cobra.Command, refs []string) error {
	switch {
	case o.engine.url == "":
		return command.WithHint(command.Usagef("forward: --to URL is missing"), "--to nats://HOST/STREAM")
	case o.batch == 0:
		return command.Usagef("forward: --batch 0: a message has at least one record")
	}
	if err := o.engine.check("forward --to"); err != nil {
		return err
	}
	return o.check(cmd, refs)
}

// forwarding is a reading whose records are stored in an engine.
type forwarding struct {
	*reading
	*fleet.Forwarder
	opts  *forwardOptions
	host  fleet.Identity // without a ring
	types map[*decode.Set]string
	state engineState
	sink  *fleet.JetStream
	ctx   context.Context // of the command
}

func forward(ctx context.Context, stderr io.Writer, opts forwardOptions) (err error) {
	f := &forwarding{ctx: ctx, opts: &opts, state: engineState{stderr: stderr}}
	if f.host, err = fleet.ThisHost(opts.host); err != nil {
		return err
	}
	if f.reading, err = opts.find("forward", stderr, true); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.reading.close()) }()
	f.Batch = int(opts.batch)
	f.types = map[*decode.Set]string{nil: ""}
	sink, err := fleet.OpenJetStream(ctx, opts.engine.address, opts.engine.nats("rbtool forward", f.state.set), opts.create)
	if err != nil {
		return f.fail(explainForward(err))
	}
	defer sink.Close()
	f.sink, f.Forwarder = sink, &fleet.Forwarder{Sink: sink, Encoding: opts.encode.Value, Records: int(opts.batch)}
	if opts.onFull.Value == "drop" {
		f.Full = f.full
	}
	f.Start(ctx)
	f.added, f.gone = f.add, func(i int, _ *member) error { return f.End(i) }
	if err := f.open(f.Flush); err != nil {
		return explainForward(err)
	}
	f.reading.Sink, f.reading.Watch = f.Forwarder, f.Forwarder.Watch
	f.announce()
	defer f.summary()
	stop := f.printStatus(ctx)
	err = f.run(ctx)
	stop()
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = nil // the records that the engine has not acknowledged are still in the ring
	}
	if err == nil {
		err = f.Forwarder.Close()
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = nil
	}
	return f.fail(explainForward(err))
}

// add begins to store the records of a ring, behind the last one that is stored.
func (f *forwarding) add(i int, m *member) error {
	resume, err := f.addRing(i, m)
	if err != nil {
		err = explainForward(err)
		f.Fail(i, err) // a ring that comes later is read, so its records must not pass
		return err
	}
	if skipped := f.rings.TotalsOf(i).Pos; ring.Pos(skipped).Before(ring.Pos(resume)) {
		f.rings.Skip(i, resume)
		command.Note(f.stderr, "%s: %d bytes of the ring were stored already", m.name, resume-skipped)
	}
	return nil
}

// addRing identifies a ring, stores the types of its records, and returns the position at which to begin.
func (f *forwarding) addRing(i int, m *member) (resume uint64, err error) {
	r := fleet.Ring{Identity: f.host, Totals: func() stream.Totals { return f.rings.TotalsOf(i) }, Clocks: command.Clocks()}
	r.Identity.Ring, r.Identity.Map = m.name, m.id
	if m.Type() == ebpf.RingBuf {
		if r.Creation, err = fleet.Creation(m.Map, !f.opts.observe); err != nil {
			return 0, err
		}
	}
	if f.Encoding == fleet.JSON {
		r.Format = stream.NewFormat(stream.JSON, stream.FormatOptions{Types: m.types.Set})
		return f.Add(i, r)
	}
	hash, stored := f.types[m.types.Set]
	if !stored {
		if hash, err = f.sink.PutTypes(f.ctx, m.types.Set); err != nil {
			return 0, err
		}
		f.types[m.types.Set] = hash
	}
	r.Types = hash
	return f.Add(i, r)
}

// full reports whether a ring is three quarters full.
func (f *forwarding) full(i int) bool {
	m := f.members[i]
	t := f.rings.TotalsOf(i)
	return m != nil && t.End-t.Pos >= uint64(m.MaxEntries())/4*3
}

// printStatus prints lines of counts until the function that it returns is called.
func (f *forwarding) printStatus(ctx context.Context) (stop func()) {
	if f.opts.status == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(time.Duration(f.opts.status))
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				f.printLine()
			}
		}
	}()
	return func() { cancel(); <-done }
}

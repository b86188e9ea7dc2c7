package ring

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/fleet"
	"github.com/rbtool/rbtool/internal/stream"
)

// streamOptions are the flags of tail that go with the URL of a stream only.
type streamOptions struct {
	engine     engineOptions
	host, ring string
}

func (o *streamOptions) flags(cmd *cobra.Command) {
	o.engine.flags(cmd)
	f := cmd.Flags()
	f.StringVar(&o.host, "host", "", "of a stream, read only the rings of the host `NAME`")
	f.StringVar(&o.ring, "ring", "", "of a stream, read only the rings with this `NAME`")
}

// isStream reports whether an argument is the URL of a stream, not a MAP.
func isStream(arg string) bool {
	return strings.HasPrefix(arg, "nats://") || strings.HasPrefix(arg, "tls://")
}

// ofStreams are the flags that go with the URL of a stream, and with nothing else.
var ofStreams = []string{"host", "ring", "creds", "login", "tls-ca", "tls-cert", "tls-key"}

// ofMaps are the flags that do not go with the URL of a stream.
var ofMaps = []string{"all", "pid", "comm", "steal", "observe", "recover", "order", "window"}

// checkStream returns a usage error for flags that do not go with the arguments of tail. stream reports whether these are
// the URL of a stream.
func (o *tailOptions) checkStream(cmd *cobra.Command, args []string) (stream bool, err error) {
	stream = slices.ContainsFunc(args, isStream)
	wrong, with := ofStreams, "a MAP"
	if stream {
		wrong, with = ofMaps, "a stream"
	}
	for _, name := range wrong {
		if cmd.Flags().Changed(name) {
			return stream, command.Usagef("tail: --%s does not go with %s", name, with)
		}
	}
	if !stream {
		return false, nil
	}
	if len(args) > 1 {
		return true, command.Usagef("tail: %s is read alone", args[slices.IndexFunc(args, isStream)])
	}
	o.stream.engine.url = args[0]
	return true, errors.Join(o.stream.engine.check("tail"), o.types.CheckNamed("tail"), o.show.check("tail"))
}

// streamPlayer shows the records in a stream as replay shows those of captures.
type streamPlayer struct {
	player
	engine *fleet.JetStream
	reader *fleet.Reader
	ctx    context.Context
	known  map[streamRing]int // numbers of rings
}

// streamRing identifies a ring with one set of types.
type streamRing struct {
	fleet.Identity
	types string
}

// tailStream prints the records in a stream.
func tailStream(ctx context.Context, stdout, stderr io.Writer, o *tailOptions) (err error) {
	p := &streamPlayer{ctx: ctx, known: map[streamRing]int{}}
	p.opts, p.stdout, p.stderr, p.title = &replayOptions{show: o.show, filter: o.filter, types: o.types}, stdout, stderr, "tail "+o.stream.engine.url
	state := engineState{stderr: stderr}
	if p.engine, err = fleet.OpenJetStream(ctx, o.stream.engine.address, o.stream.engine.nats("rbtool tail", state.set), false); err != nil {
		return p.fail(explainEngine(err))
	}
	defer p.engine.Close()
	s := fleet.Selection{Host: o.stream.host, Ring: o.stream.ring, New: o.from.Value == "now"}
	if o.order.since.set {
		s.Since = o.order.since.past(time.Now())
	}
	if p.reader, err = p.engine.Read(ctx, s); err != nil {
		return p.fail(explainEngine(err))
	}
	defer p.reader.Close()
	p.reader.Ring = p.number
	p.host = command.RecordedHost(func() capture.Clocks { return p.reader.Batch().Clocks }, p.reader.Time)
	p.several, p.hosts = true, true
	p.formats = p.newFormats()
	p.Source, p.Sink = p.reader, &stream.Writer{W: stdout, Format: p.append}
	p.Limits = stream.Limits{Records: uint64(o.count), For: time.Duration(o.duration), Idle: time.Duration(o.idle)}
	err = p.Run(ctx)
	p.reportStream(o.stats)
	if errors.Is(err, ctx.Err()) {
		err = nil
	}
	return p.fail(explainEngine(err))
}

// number returns the number of a batch's ring.
func (p *streamPlayer) number(b *fleet.Batch) (int, error) {
	id := streamRing{b.Identity, b.Types}
	if number, ok := p.known[id]; ok {
		return number, nil
	}
	info := capture.Info{Name: b.Ring, ID: b.Map, Type: ebpf.RingBuf, Clocks: b.Clocks}
	info.Host = capture.Host{Name: b.Host, BootID: b.Boot}
	if b.Types != "" && !p.opts.types.NoDecode {
		set, err := p.engine.Types(p.ctx, b.Types)
		if err != nil {
			command.Note(p.stderr, "records of ring %s of host %s are shown in hex: %v", b.Ring, b.Host, err)
		}
		info.Types = set
	}
	number, err := p.ring(info)
	if err == nil {
		p.known[id] = number
	}
	return number, err
}

// reportStream prints what is missing from the output, and with stats the line of counts.
func (p *streamPlayer) reportStream(stats bool) {
	t, s := p.reader.Totals(), p.Stats()
	if stats {
		command.Note(p.stderr, "%d records, %d bytes, %d discarded, %d bytes lost", s.Taken, s.Bytes, t.Discarded, t.Lost)
	}
	for _, missing := range []struct {
		n    uint64
		text string
	}{
		{t.Lost, "bytes of records were overwritten before they were read"},
		{p.reader.Dropped, "records were dropped by forwarders while the server was away or full"},
		{p.reader.Gaps, "gaps are between batches of a ring: it was read by another consumer, or batches were deleted"},
		{p.reader.Others, "batches are left out: they are JSON, not raw"},
		{p.reader.Foreign, "messages are left out: they are not of rbtool forward"},
	} {
		if missing.n > 0 {
			command.Note(p.stderr, "%d %s", missing.n, missing.text)
		}
	}
	for _, f := range p.Filters {
		reportFilter(p.stderr, f)
	}
}

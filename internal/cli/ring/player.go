package ring

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/filter"
	"github.com/rbtool/rbtool/internal/stream"
)

// player replays captures.
type player struct {
	stream.Stream
	opts           *replayOptions
	stdout, stderr io.Writer
	title          string // prefix of its errors

	inputs   []io.Closer
	files    []*stream.CaptureFile
	captures *stream.Captures
	flush    func() error // the sink's Flush

	rings   []playedRing // by their number
	several bool         // several rings were recorded
	hosts   bool         // on several hosts
	formats *stream.Formats
	host    decode.Host
	window  window
	ending  ending
}

// playedRing is a ring, of which several files can have records.
type playedRing struct {
	id    ringID
	sum   [sha256.Size]byte // of the types
	types *decode.Set
	shown stream.Shown
	time  func(*stream.Record) int64 // the time that is shown of a record
}

// ringID identifies a ring among all rings of all hosts.
type ringID struct {
	host capture.Host
	id   ebpf.MapID
	name string
}

func idOf(info *capture.Info) ringID { return ringID{info.Host, info.ID, info.Name} }

// open opens the files.
func (p *player) open(ctx context.Context, stdin io.Reader, names []string) error {
	p.flush = func() error { return nil }
	for _, name := range names {
		in, err := openInput(ctx, stdin, name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EIO) { // a pin cannot be read
			return command.WithHint(err, "rbtool tail %s prints the records of a map; rbtool record MAP FILE writes a capture", name)
		}
		if err != nil {
			return err
		}
		p.inputs = append(p.inputs, in)
		from := io.Reader(in)
		if name == "-" {
			from = stdin
		}
		if p.ending.add(from); p.opts.until.set && !p.opts.until.ofDay() {
			p.ending.at(p.opts.until.at)
		}
		file := &stream.CaptureFile{}
		if len(names) > 1 {
			file.Name = name
		}
		// A read may block for long. Before it, write the records that were read earlier.
		file.Reader, err = newCaptureReader(&input{ctx: ctx, r: in, before: func() error { return p.flush() }, over: p.ending.over})
		if err != nil && file.Name != "" {
			err = fmt.Errorf("%s: %w", file.Name, err)
		}
		if err != nil {
			return err
		}
		p.files = append(p.files, file)
	}
	return nil
}

// prepare sets the stream up for the rings that are at the beginning of the files.
func (p *player) prepare() error {
	p.captures = stream.NewCaptures(p.files...)
	p.Source, p.captures.Ring = p.captures, p.ring
	p.Limits.Records = uint64(p.opts.count)
	p.host = command.RecordedHost(func() capture.Clocks { return p.captures.Current().Info().Clocks }, p.captures.Time)
	var known []capture.Info
	for _, f := range p.files {
		for _, info := range f.Rings() {
			if info.Type != ebpf.UnspecifiedMap {
				known = append(known, info)
			}
		}
	}
	for _, info := range known {
		p.several = p.several || idOf(&info) != idOf(&known[0])
		p.hosts = p.hosts || info.Host.Name != known[0].Host.Name
	}
	p.formats = p.newFormats()
	var types []*decode.Set
	for _, info := range known {
		number, err := p.ring(info)
		if err != nil {
			return err
		}
		types = append(types, p.rings[number].types)
	}
	if err := p.opts.show.checkFields("replay", types...); err != nil {
		return err
	}
	if p.opts.since.set || p.opts.until.set {
		var err error
		if p.window, err = newWindow(&p.opts.since, &p.opts.until, p.captures.Next()); err != nil {
			return err
		}
		if p.opts.until.set {
			p.ending.at(time.Unix(0, p.window.until))
		}
		p.captures.Keep = p.keep
	}
	return nil
}

func (p *player) newFormats() *stream.Formats {
	return stream.NewFormats(p.opts.show.output.Value, p.opts.show.options(p.stdout, p.host), p.several)
}

// ring returns the number of a ring. A series of files has the same rings again and again.
func (p *player) ring(info capture.Info) (number int, err error) {
	ring := playedRing{id: idOf(&info)}
	types, err := p.opts.types.Replace(info.Types)
	if err != nil {
		return 0, err
	}
	if types.Set != nil {
		body, err := types.Set.MarshalBinary()
		if err != nil {
			return 0, err
		}
		ring.sum = sha256.Sum256(body)
	}
	for i := range p.rings {
		if known := &p.rings[i]; known.id == ring.id && known.sum == ring.sum {
			return i, nil
		}
	}
	ring.types = types.Set
	for i := range p.rings {
		if p.rings[i].sum == ring.sum {
			ring.types = p.rings[i].types // so that they are in one table
		}
	}
	keep, err := newFilter(p.command(), p.opts.filter, ring.types)
	if err != nil && len(p.rings) > 0 {
		command.Note(p.stderr, "the filter leaves out all records of ring %s: %v", info.Name, err)
		keep, err = filter.New("false", nil)
	}
	if err != nil {
		return 0, err
	}
	p.opts.types.Report(p.stderr, types)
	noteFilter(p.stderr, keep)
	p.addRing(ring, &info, keep)
	return len(p.rings) - 1, nil
}

// command returns the name of the command, which begins its title.
func (p *player) command() string {
	name, _, _ := strings.Cut(p.title, " ")
	return name
}

// addRing adds a ring.
func (p *player) addRing(ring playedRing, info *capture.Info, keep *filter.Filter) {
	ring.shown = stream.Shown{Name: info.Name, ID: info.ID, Types: ring.types}
	if p.hosts {
		ring.shown.Name = info.Host.Name + ":" + info.Name
	}
	o := p.opts.show.options(p.stdout, p.host)
	o.Types = ring.types
	ring.time = stream.TimeOf(o)
	p.rings, p.Filters = append(p.rings, ring), append(p.Filters, keep)
	if !p.several && ring.id != p.rings[0].id {
		p.several = true // a ring that came late
		p.formats = p.newFormats()
		for i := range p.rings {
			p.formats.Set(i, p.rings[i].shown)
		}
	}
	p.formats.Set(len(p.rings)-1, ring.shown)
}

// append is a [stream.Format].
func (p *player) append(dst []byte, rec *stream.Record) []byte { return p.formats.Append(dst, rec) }

// keep reports whether a record is in the window.
func (p *player) keep(number int, rec *capture.Record) bool {
	shown := stream.Record{Time: rec.Time.UnixNano()}
	shown.Data = rec.Data
	at := p.rings[number].time(&shown)
	if p.ending.piped && p.window.over(at, shown.Time) {
		p.ending.early = true
		p.captures.End()
	}
	return p.window.has(at)
}

// play moves the records to a sink, and reports what is missing.
func (p *player) play(ctx context.Context, sink stream.Sink) error {
	p.Sink, p.flush = sink, sink.Flush
	if p.opts.speed.Value != "max" {
		p.Sink = &stream.Paced{Sink: sink, Time: p.captures.Time}
	}
	err := p.Run(ctx)
	if err == nil {
		p.report()
	}
	if errors.Is(err, capture.ErrFormat) {
		p.report()
		err = command.WithHint(err, "the records that were read are whole; another copy of the file may have the rest")
	}
	return err
}

// intoRing writes the records into a user ring. If it fails, the records before the error are published
// and counted.
func (p *player) intoRing(ctx context.Context) (err error) {
	ring, err := openProducer(p.stderr, p.opts.to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ring.Close()) }()
	sink, err := stream.NewUserRing(ctx, ring)
	if err != nil {
		return err
	}
	err = errors.Join(p.play(ctx, sink), sink.Close())
	fmt.Fprintf(p.stderr, "%d samples, %d bytes\n", p.Stats().Taken, p.Stats().Bytes)
	return err
}

// report prints how many records the captures are missing.
func (p *player) report() {
	if lost := p.captures.Totals().Lost; lost > 0 {
		command.Note(p.stderr, "%d bytes of records were lost while recording", lost)
	}
	unfinished := p.captures.Unfinished()
	if p.ending.report(p.stderr) {
		unfinished = nil
	}
	for _, f := range unfinished {
		of := ""
		if f.Name != "" {
			of = " " + f.Name
		}
		command.Note(p.stderr, "the capture%s is unfinished: its %d records are complete", of, f.Records)
	}
	if p.window.missed() {
		command.Note(p.stderr, "%s", p.window.describe())
	}
	for _, f := range p.Filters {
		reportFilter(p.stderr, f)
	}
}

// fail adds the command's title to err.
func (p *player) fail(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", p.title, command.Interrupted(err))
}

// close closes the files.
func (p *player) close() {
	p.ending.close()
	for _, in := range p.inputs {
		in.Close()
	}
}

// newCaptureReader returns a reader of the capture in r. The error has a hint if r has something else.
func newCaptureReader(r io.Reader) (*capture.Reader, error) {
	c, err := capture.NewReader(bufio.NewReaderSize(r, 1<<16))
	if foreign, ok := errors.AsType[*capture.ForeignError](err); ok {
		return nil, command.WithHint(err, "%s", foreignHint(foreign))
	}
	return c, err
}

// foreignHint returns what to do with a file that is not a capture.
func foreignHint(f *capture.ForeignError) string {
	switch f.Format {
	case "gzip", "zstd", "xz", "bzip2", "lz4":
		return f.Format + " -dc FILE | rbtool replay -"
	case "pcap":
		return "tcpdump -r FILE, tshark -r FILE or wireshark FILE shows it"
	case "pcapng":
		return "tshark -r FILE or wireshark FILE shows it; replay reads the file that rbtool record wrote"
	case "text":
		return "replay reads what rbtool record writes; rbtool produce MAP FILE writes lines, hex or JSON into a user ring buffer"
	}
	return "replay reads what rbtool record MAP FILE writes"
}

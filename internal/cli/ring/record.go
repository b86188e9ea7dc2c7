package ring

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/stream"
)

// recordOptions are the flags of record.
type recordOptions struct {
	readOptions
	rotate command.Size
	keep   command.Count
	append bool
}

func newRecord() *cobra.Command {
	var opts recordOptions
	cmd := &cobra.Command{
		Use:   "record MAP... FILE",
		Short: "Write the records of ring buffers to a file, with positions, times and types",
		Long: `Write the records of a ring buffer to a new file, consuming or observing them as tail does,
until interrupted. The file holds the records with their positions, the times at which they
were read, the losses between them, and their types; and on which host, boot and kernel they were
recorded. rbtool replay prints it or feeds it to a user ring buffer. Wireshark opens it too: it is a
pcapng file, and rbtool replay --dissector makes Wireshark decode the records.

Several rings, and rings that come and go, are read as tail reads them (rbtool tail --help); each
is an interface of the capture.

FILE - is the standard output, for a pipe to wireshark -k -i -, or to another host. Records are
written as they come. FILE can also be a FIFO.

--append adds to a capture, or creates it. --rotate SIZE writes a series of files instead, FILE with
a number before its extension: events-000001.pcapng and so on. Each is a capture of its own of at most
SIZE; rbtool replay events-*.pcapng reads all as one. --keep COUNT removes the oldest files beyond this
many, also those of earlier recordings to the same FILE, whose numbers are continued. A FILE that
another process records to is refused with status 5.

A record is consumed once it has been written to the file. If the recorder is killed, the file
is readable up to its last whole record. A recording that fails before its first record leaves
no file.`,
		Example: `  rbtool record /sys/fs/bpf/events events.pcapng --for 10s
  rbtool record id:12 slow.pcapng --observe --filter 'latency > 1000000'
  rbtool record '/sys/fs/bpf/agent/*' all.pcapng
  rbtool record events - | wireshark -k -i -
  rbtool record events /var/log/events.pcapng --rotate 100MiB --keep 10`,
		Args: opts.rings.args("FILE"),
	}
	opts.flags(cmd)
	f := cmd.Flags()
	f.Var(&opts.rotate, "rotate", "begin a new file before one exceeds this size")
	f.Var(&opts.keep, "keep", "with --rotate, remove the oldest files beyond this many")
	f.BoolVar(&opts.append, "append", false, "add to a capture if FILE exists")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		maps, file := args[:len(args)-1], args[len(args)-1]
		if i := slices.IndexFunc(maps, command.IsCapture); i >= 0 {
			return command.WithHint(command.Usagef("record: %s is no MAP: the file comes last", maps[i]), "rbtool record MAP %s", maps[i])
		}
		if err := opts.check(cmd, maps, file); err != nil {
			return err
		}
		return record(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), file, opts)
	}
	return cmd
}

// check returns a usage error for flags that contradict each other.
func (o *recordOptions) check(cmd *cobra.Command, maps []string, file string) error {
	switch toStdout := file == "-"; {
	case o.rotate == 0 && cmd.Flags().Changed("rotate"):
		return command.Usagef("record: --rotate 0: not a size above 0, such as 100MiB")
	case o.keep > 0 && o.rotate == 0:
		return command.Usagef("record: --keep goes with --rotate SIZE, such as --rotate 100MiB")
	case o.append && o.rotate > 0:
		return command.Usagef("record: --append does not go with --rotate, which continues a series by itself")
	case toStdout && (o.append || o.rotate > 0):
		return command.Usagef("record: --append and --rotate go with a file, not with -")
	case toStdout && command.IsTerminal(cmd.OutOrStdout()):
		return command.WithHint(command.Usagef("record: captures are binary, and the standard output is a terminal"),
			"| wireshark -k -i - shows the records; rbtool tail prints them")
	}
	return o.readOptions.check(cmd, maps)
}

func record(ctx context.Context, stdout, stderr io.Writer, path string, opts recordOptions) (err error) {
	r, err := opts.find("record", stderr, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	rec := &stream.Recorder{Writer: &stream.Writer{W: stdout}, Limit: int64(opts.rotate), Clocks: command.Clocks}
	if err := r.open(rec.Flush); err != nil {
		return err
	}
	var file *recordFile
	if path == "-" {
		var stop context.CancelFunc
		ctx, stop = whileRead(ctx, stdout)
		defer stop()
	} else {
		// Open the file after the ring: if the ring cannot be read, no file is left behind.
		if file, err = openRecord(ctx, path, &opts); err != nil {
			return r.fail(command.Interrupted(err))
		}
		rec.W, rec.Next = file.File, file.next
	}
	r.announce()
	if file != nil && file.cut > 0 {
		command.Note(stderr, "the capture in %s was unfinished: %d bytes after its last whole record are removed", path, file.cut)
	}
	defer r.report()
	err = r.record(ctx, rec)
	if file != nil {
		if err != nil {
			err = errors.Join(err, file.remove(rec))
		}
		err = errors.Join(err, file.Close())
	}
	return r.fail(err)
}

// record writes a capture from its header to its end.
func (r *reading) record(ctx context.Context, rec *stream.Recorder) error {
	if err := rec.Begin(command.Section()); err != nil {
		return err
	}
	sink := &recordedRings{Recorder: rec}
	r.Sink = sink
	r.added = func(i int, m *member) error {
		info, err := m.Info()
		if err != nil {
			return err
		}
		for i >= len(sink.indices) {
			sink.indices = append(sink.indices, 0)
		}
		sink.indices[i], err = rec.Add(func() stream.Totals { return r.rings.TotalsOf(i) }, capture.Info{
			Name: info.Name, ID: m.id, Type: info.Type, Size: uint64(m.MaxEntries()), Pin: m.pin, Types: m.types.Set,
		})
		return err
	}
	r.gone = func(i int, _ *member) error { return rec.End(sink.indices[i]) }
	for _, i := range r.all() {
		if err := r.added(i, r.members[i]); err != nil {
			return err
		}
	}
	if err := r.run(ctx); err != nil {
		return err
	}
	return rec.Finish()
}

// recordedRings gives records the indices that their rings have in the capture.
type recordedRings struct {
	*stream.Recorder
	indices []int // of rings in the capture, by their index in stream.Rings, which later rings use again
}

// Append implements [stream.Sink].
func (s *recordedRings) Append(ctx context.Context, rec *stream.Record) error {
	rec.Ring = s.indices[rec.Ring]
	return s.Recorder.Append(ctx, rec)
}

package ring

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/stream"
)

func newRecord() *cobra.Command {
	var opts readOptions
	cmd := &cobra.Command{
		Use:   "record MAP FILE",
		Short: "Write the records of a ring buffer to a file, with positions, times and types",
		Long: `Write the records of a ring buffer to a new file, consuming or observing them as tail does,
until interrupted. The file holds the records with their positions, the times at which they
were read, the losses between them, and their types. rbtool replay prints it or feeds it to a
user ring buffer. Wireshark opens it too: it is a pcapng file.

A record is consumed once it has been written to the file. If the recorder is killed, the file
is readable up to its last whole record. A recording that fails before its first record leaves
no file.`,
		Example: `  rbtool record /sys/fs/bpf/events events.pcapng --for 10s
  rbtool record id:12 slow.pcapng --observe --filter 'latency > 1000000'`,
		Args: command.NonEmpty(cobra.ExactArgs(2)),
	}
	opts.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := opts.check(cmd); err != nil {
			return err
		}
		return record(cmd.Context(), cmd.ErrOrStderr(), args[0], args[1], opts)
	}
	return cmd
}

func record(ctx context.Context, stderr io.Writer, ref, path string, opts readOptions) (err error) {
	r, err := opts.find("record", ref, true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	out := &stream.Writer{}
	if err := r.open(out.Flush); err != nil {
		return err
	}
	// Create the file after the ring is open: if the ring cannot be read, no file is left behind.
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return r.fail(err)
	}
	out.W = file
	rec := &stream.Recorder{Writer: out, Source: r.Source}
	r.Sink = rec
	r.announce(stderr)
	defer r.report(stderr)
	if err = r.record(ctx, rec); err != nil {
		err = errors.Join(err, removeEmpty(file, rec))
	}
	return r.fail(errors.Join(err, file.Close()))
}

// record writes a capture from its header to its end.
func (r *reading) record(ctx context.Context, rec *stream.Recorder) error {
	info, err := r.ring.Info()
	if err != nil {
		return err
	}
	id, _ := info.ID()
	err = rec.Begin(capture.Info{
		Name: info.Name, ID: id, Type: info.Type, Size: uint64(r.ring.MaxEntries()),
		Application: "rbtool " + command.Version(), Types: r.types.Set,
	})
	if err != nil {
		return err
	}
	if err := r.run(ctx); err != nil {
		return err
	}
	return rec.Finish(r.Stats().Taken)
}

// removeEmpty removes the file of a failed recording if it has no whole record: the next attempt can
// then create it. It does not remove a different file that now has that name.
func removeEmpty(file *os.File, rec *stream.Recorder) error {
	ours, err := file.Stat()
	if err != nil {
		return err
	}
	if rec.HasRecord(ours.Size()) {
		return nil
	}
	there, err := os.Lstat(file.Name())
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(ours, there) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Remove(file.Name())
}

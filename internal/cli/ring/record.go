package ring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/cilium/ebpf"
	"github.com/spf13/cobra"

	"github.com/rbtool/rbtool/capture"
	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/ring"
	"github.com/rbtool/rbtool/internal/stream"
)

func newRecord() *cobra.Command {
	opts := tailOptions{output: &command.Choice{Value: "raw"}}
	cmd := &cobra.Command{
		Use:   "record MAP FILE",
		Short: "Write the records of a ring buffer to a file, with positions, times and types",
		Long: `Write the records of a ring buffer to a file, consuming or observing them as tail
does, until interrupted. The file, which must not exist yet, has their positions,
the times at which they were read, what was lost between them, and their types: rbtool replay
prints it or feeds it to a user ring buffer, and Wireshark opens it, for it is a pcapng file.

Records are consumed when they were written to the file. A file whose recorder was killed
is readable to its last whole record. A recording that fails before its first record leaves
no file.`,
		Example: `  rbtool record /sys/fs/bpf/events events.pcapng --for 10s
  rbtool record id:12 slow.pcapng --observe --filter 'latency > 1000000'`,
		Args: command.NonEmpty(cobra.ExactArgs(2)),
	}
	opts.sourceFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := opts.check(cmd); err != nil {
			return err
		}
		return record(cmd.Context(), cmd.ErrOrStderr(), args[0], args[1], opts)
	}
	return cmd
}

func record(ctx context.Context, stderr io.Writer, ref, path string, opts tailOptions) (err error) {
	m, err := lookupRing(ref, opts)
	if err != nil {
		return err
	}
	defer m.Close()
	var notes bytes.Buffer // come after what can fail
	types, err := opts.types.RecordTypes(m, &notes)
	if err != nil {
		return fmt.Errorf("record %s: %w", ref, err)
	}
	selected, err := newFilter("record", opts.filter, types)
	if err != nil {
		return err
	}
	out := &stream.Batch{}
	src, err := openFeed(m, out, opts)
	if err != nil {
		return fmt.Errorf("record %s: %w", ref, explainReader(err))
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	// After the ring, so that one that cannot be read leaves no file.
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("record %s: %w", ref, err)
	}
	out.W = file
	stderr.Write(notes.Bytes())
	rec := recording{source: src}
	t := &tailer{source: src, out: out, format: rec.append, filter: selected, opts: opts, began: time.Now()}
	if err = rec.run(ctx, t, m, types); err != nil {
		err = errors.Join(err, rec.removeEmpty(file))
	}
	if err = errors.Join(err, file.Close()); err != nil {
		err = fmt.Errorf("record %s: %w", ref, explainReader(err))
	}
	sayMended(stderr, src)
	if opts.stats {
		fmt.Fprintln(stderr, t.summary())
		sayRefused(stderr, m)
	}
	sayLost(stderr, src)
	sayUnfiltered(stderr, selected)
	return err
}

// recording writes what a tailer reads as a capture.
type recording struct {
	source feed
	next   uint64 // where the record after the last one is, if there is nothing in between
	lost   uint64 // as told in the capture
	header int    // bytes of the file before the first record
	first  int    // bytes of the first record, 0 without one
}

func (r *recording) run(ctx context.Context, t *tailer, m *ebpf.Map, types *decode.Set) error {
	info, err := m.Info()
	if err != nil {
		return err
	}
	id, _ := info.ID()
	r.next = r.source.totals().pos
	t.out.Buf, err = capture.AppendHeader(t.out.Buf, capture.Info{
		Name: info.Name, ID: id, Type: info.Type, Size: uint64(m.MaxEntries()), Start: r.next,
		Application: "rbtool " + command.Version(), Types: types,
	})
	if err != nil {
		return err
	}
	r.header = len(t.out.Buf)
	if err := t.out.Flush(); err != nil {
		return err
	}
	if err := t.run(ctx); err != nil {
		return err
	}
	s := r.source.totals()
	t.out.Buf = capture.AppendEnd(t.out.Buf, capture.End{
		Time: time.Now(), Pos: s.pos, Records: t.printed, Discarded: s.discarded, Lost: s.lost - r.lost,
	})
	return t.out.Flush()
}

// append is a format. What was lost is asked for only where positions have a gap.
func (r *recording) append(dst []byte, _ uint64, rec consumer.Record) []byte {
	written := capture.Record{Pos: rec.Pos, Time: time.Now(), Data: rec.Data}
	if rec.Pos != r.next {
		lost := r.source.totals().lost
		written.Lost, r.lost = lost-r.lost, lost
	}
	r.next = rec.Pos + ring.Span(uint32(len(rec.Data)))
	before := len(dst)
	dst = capture.AppendRecord(dst, written)
	if r.first == 0 {
		r.first = len(dst) - before
	}
	return dst
}

// removeEmpty removes the file of a failed recording if it has no whole record, so that the next
// try can make it. Another file that has taken its place stays.
func (r *recording) removeEmpty(file *os.File) error {
	ours, err := file.Stat()
	if err != nil {
		return err
	}
	if r.first > 0 && ours.Size() >= int64(r.header+r.first) {
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

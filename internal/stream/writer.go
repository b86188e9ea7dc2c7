package stream

import (
	"context"
	"fmt"
	"io"

	"github.com/rbtool/rbtool/internal/escape"
)

// Writer is a Sink that writes formatted records to a file, a pipe or a terminal. Each batch is one write.
type Writer struct {
	W      io.Writer // an escape.Writer is bypassed
	Format Format

	// Buf has the output that is not written yet. Formats escape text as they append it: a second pass over the
	// output would cost 100 ns a record.
	Buf []byte
}

// Append implements [Sink].
func (w *Writer) Append(_ context.Context, rec *Record) error {
	w.Buf = w.Format(w.Buf, rec)
	return nil
}

// Flush implements [Sink]. After an error Buf has what was not written.
func (w *Writer) Flush() error {
	if len(w.Buf) == 0 {
		return nil
	}
	n, err := escape.Unwrap(w.W).Write(w.Buf)
	w.Buf = w.Buf[:copy(w.Buf, w.Buf[n:])]
	if err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// FlushLarge flushes once Buf has 64 KiB.
func (w *Writer) FlushLarge() error {
	if len(w.Buf) < 64<<10 {
		return nil
	}
	return w.Flush()
}

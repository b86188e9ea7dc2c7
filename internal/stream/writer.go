package stream

import (
	"context"
	"fmt"
	"io"

	"github.com/rbtool/rbtool/internal/escape"
)

// Writer is a Sink that writes formatted records to a file, a pipe or a terminal. It writes each batch
// with one call.
type Writer struct {
	W      io.Writer // if it is an escape.Writer, Flush writes to the writer below it
	Format Format

	// Buf has output that is not written yet. Formats must escape text when they append it: to escape
	// the whole output again would cost 100 ns per record.
	Buf []byte
}

// Append implements [Sink].
func (w *Writer) Append(_ context.Context, rec *Record) error {
	w.Buf = w.Format(w.Buf, rec)
	return nil
}

// Flush implements [Sink]. If it fails, Buf keeps what was not written.
func (w *Writer) Flush() error {
	if len(w.Buf) == 0 {
		return nil
	}
	return w.flush(len(w.Buf))
}

// flush writes the first n bytes of Buf.
func (w *Writer) flush(n int) error {
	n, err := escape.Unwrap(w.W).Write(w.Buf[:n])
	w.Buf = w.Buf[:copy(w.Buf, w.Buf[n:])]
	if err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// FlushLarge calls Flush if Buf has 64 KiB or more.
func (w *Writer) FlushLarge() error {
	if len(w.Buf) < 64<<10 {
		return nil
	}
	return w.Flush()
}

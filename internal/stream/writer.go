package stream

import (
	"fmt"
	"io"

	"github.com/rbtool/rbtool/internal/escape"
)

// batch is output that has not been written yet. Text in it is escaped when it is appended, by
// package decode or package escape: a second look at each byte of the stream would cost tail
// 100 ns a record.
type Batch struct {
	W   io.Writer
	Buf []byte
}

// flush writes it. What could not be written stays.
func (b *Batch) Flush() error {
	if len(b.Buf) == 0 {
		return nil
	}
	n, err := escape.Unwrap(b.W).Write(b.Buf)
	b.Buf = b.Buf[:copy(b.Buf, b.Buf[n:])]
	if err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// full writes it when it has grown large enough to be worth it.
func (b *Batch) Full() error {
	if len(b.Buf) < 64<<10 {
		return nil
	}
	return b.Flush()
}

package main

import (
	"fmt"
	"io"

	"github.com/rbtool/rbtool/internal/escape"
)

// batch is output that has not been written yet. Text in it is escaped when it is appended, by
// package decode or package escape: a second look at each byte of the stream would cost tail
// 100 ns a record.
type batch struct {
	w   io.Writer
	buf []byte
}

// flush writes it. What could not be written stays.
func (b *batch) flush() error {
	if len(b.buf) == 0 {
		return nil
	}
	n, err := escape.Unwrap(b.w).Write(b.buf)
	b.buf = b.buf[:copy(b.buf, b.buf[n:])]
	if err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}

// full writes it when it has grown large enough to be worth it.
func (b *batch) full() error {
	if len(b.buf) < 64<<10 {
		return nil
	}
	return b.flush()
}

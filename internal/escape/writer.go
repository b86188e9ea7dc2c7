package escape

import (
	"io"
	"sync"
	"unicode/utf8"
)

// Writer escapes unprintable runes, except newlines and tabs, and writes the result to another writer.
// It may be used concurrently. Each Write calls the other writer once.
type Writer struct {
	mu   sync.Mutex
	w    io.Writer
	part []byte // the first bytes of a rune that is incomplete until the next Write
	buf  []byte
}

// NewWriter returns a Writer that writes to w.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Unwrap returns the writer below w if w is a [Writer], otherwise w. It is for output that must not be
// escaped: binary data, terminal sequences, and text that is already escaped.
func Unwrap(w io.Writer) io.Writer {
	if w, ok := w.(*Writer); ok {
		return w.w
	}
	return w
}

// Write implements [io.Writer]. If it fails it returns 0, even if a part of p was written.
func (w *Writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	whole := p
	if len(w.part) > 0 {
		whole = append(w.part, p...)
	}
	n := len(whole) - partial(whole)
	w.part = append([]byte(nil), whole[n:]...)
	if err := w.write(whole[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush writes the bytes of an incomplete rune, escaped.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	part := w.part
	w.part = nil
	return w.write(part)
}

func (w *Writer) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	w.buf = rewrite(w.buf[:0], p, &text, appendGo)
	_, err := w.w.Write(w.buf)
	return err
}

// partial returns the length of the incomplete rune at the end of p, or 0.
func partial(p []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		if tail := p[len(p)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}

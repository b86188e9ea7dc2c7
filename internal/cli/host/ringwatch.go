package host

import (
	"bytes"
	"context"
	"errors"
	"os"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/decode"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/stream"
	"github.com/rbtool/rbtool/internal/top"
)

// ringWatch follows the records of a ring for a screen. It counts all records and keeps the last few. It
// formats the kept ones when the screen is drawn.
type ringWatch struct {
	source stream.Source
	recent *stream.Recent
	format stream.Format
	ended  chan struct{} // closed when the goroutine that reads has ended

	mu  sync.Mutex
	err error
}

var _ top.Watch = (*ringWatch)(nil)

// Limits of what a screen can show.
const (
	keepRecords = 64
	keepBytes   = 16 << 10 // bytes kept of each record: a longer record is not decoded
	keepText    = 2 << 10  // bytes kept of each line
)

// watchRing watches the ring with the given id until Close is called.
func watchRing(ctx context.Context, id ebpf.MapID) (*ringWatch, error) {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	types, err := stream.FindTypes(m, nil, nil)
	if err != nil {
		return nil, err
	}
	src, err := stream.Observe(m, consumer.ObserverOptions{})
	if err != nil {
		return nil, err
	}
	w := &ringWatch{
		source: src, recent: stream.NewRecent(keepRecords, keepBytes),
		format: stream.NewFormat(stream.Text, stream.FormatOptions{Types: types.Set, Print: decode.PrintOptions{Host: command.Host()}}), ended: make(chan struct{}),
	}
	go w.follow(ctx)
	return w, nil
}

func (w *ringWatch) follow(ctx context.Context) {
	defer close(w.ended)
	s := stream.Stream{Source: w.source, Sink: w.recent}
	err := s.Run(ctx)
	if errors.Is(err, os.ErrClosed) || errors.Is(err, context.Canceled) {
		return // Close has ended the watch: this is not an error
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

// News implements [top.Watch].
func (w *ringWatch) News() top.News {
	total := w.source.Totals()
	news := top.News{LostBytes: total.Lost}
	var buf []byte
	taken := w.recent.Take(func(rec *stream.Record) {
		buf = w.format(buf[:0], rec)
		for line := range bytes.Lines(buf) {
			line = bytes.TrimSuffix(line, []byte("\n"))
			news.Lines = append(news.Lines, string(line[:min(len(line), keepText)]))
		}
	})
	news.Records = taken + total.Discarded
	w.mu.Lock()
	defer w.mu.Unlock()
	news.Err = w.err
	return news
}

// Close ends the watch. When it returns, the watch's goroutine has ended.
func (w *ringWatch) Close() error {
	err := w.source.Close()
	<-w.ended
	return err
}

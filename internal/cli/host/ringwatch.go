package host

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"sync"

	"github.com/cilium/ebpf"

	"github.com/rbtool/rbtool/consumer"
	"github.com/rbtool/rbtool/internal/cli/command"
	"github.com/rbtool/rbtool/internal/stream"
	"github.com/rbtool/rbtool/internal/top"
)

// ringWatch follows the records of a ring for a screen. All are counted; the last few
// are kept, and formatted when the screen is drawn: a screen shows some dozen of
// a million.
type ringWatch struct {
	observer *consumer.Observer
	format   stream.Format
	ended    chan struct{}

	mu   sync.Mutex
	kept [keepRecords]consumer.Record
	next int // where the next one goes
	n    int // how many came since the last News, at most keepRecords
	seq  uint64
	err  error
}

var _ top.Watch = (*ringWatch)(nil)

// What a screen can show at most.
const (
	keepRecords = 64
	keepBytes   = 16 << 10 // of each record: a longer one is not decoded
	keepText    = 2 << 10  // of each record's line
)

// watchRing opens the ring with this id.
func watchRing(ctx context.Context, id ebpf.MapID) (*ringWatch, error) {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	types, err := new(command.TypeOptions).RecordTypes(m, io.Discard)
	if err != nil {
		return nil, err
	}
	o, err := consumer.NewObserver(m, consumer.ObserverOptions{})
	if err != nil {
		return nil, err
	}
	w := &ringWatch{observer: o, format: stream.NewFormat("text", types), ended: make(chan struct{})}
	go w.follow(ctx)
	return w, nil
}

// follow reads until Close.
func (w *ringWatch) follow(ctx context.Context) {
	defer close(w.ended)
	for {
		if err := w.observer.Wait(ctx); err != nil {
			w.fail(err)
			return
		}
		for rec := range w.observer.Pass(0) {
			w.keep(rec)
		}
		if err := w.observer.Err(); err != nil {
			w.fail(err)
			return
		}
	}
}

// keep copies a record, which is valid in its pass only, into memory that an older
// one had.
func (w *ringWatch) keep(rec consumer.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	slot := &w.kept[w.next]
	slot.Data = append(slot.Data[:0], rec.Data[:min(len(rec.Data), keepBytes)]...)
	slot.Pos = rec.Pos
	w.next = (w.next + 1) % keepRecords
	w.n = min(w.n+1, keepRecords)
	w.seq++
}

func (w *ringWatch) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = ended(err)
}

// ended is err, unless that is how the watching of a ring ends.
func ended(err error) error {
	if errors.Is(err, os.ErrClosed) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// News implements [top.Watch].
func (w *ringWatch) News() top.News {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, _ := w.observer.Stats()
	news := top.News{Records: s.Records + s.Discarded, LostBytes: s.Lost, Err: w.err}
	var buf []byte
	for i := w.n; i > 0; i-- {
		rec := w.kept[(w.next-i+keepRecords)%keepRecords]
		buf = w.format(buf[:0], w.seq-uint64(i)+1, rec)
		line, _ := bytes.CutSuffix(buf, []byte("\n"))
		news.Lines = append(news.Lines, string(line[:min(len(line), keepText)]))
	}
	w.n = 0
	return news
}

// Close ends it, and returns when nothing of it runs any more.
func (w *ringWatch) Close() error {
	err := w.observer.Close()
	<-w.ended
	return err
}
